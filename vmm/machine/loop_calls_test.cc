#include "vmm/machine/loop_calls.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "vmm/machine/run_control.h"

namespace machine {
namespace {

class LoopCallsTest : public testing::Test {
 protected:
  std::unique_ptr<base::EventLoop> loop_ = *base::EventLoop::create();
};

TEST_F(LoopCallsTest, RunsTheWorkOnTheLoopsThreadBeforeTheCallerGoesOn) {
  LoopCalls calls(*loop_);
  std::thread::id ran_on;
  std::atomic<bool> returned = false;

  std::thread caller([&] {
    calls.call([&] { ran_on = std::this_thread::get_id(); });
    returned = true;
    loop_->stop();
  });
  ASSERT_TRUE(loop_->run());
  caller.join();

  EXPECT_TRUE(returned);
  EXPECT_EQ(ran_on, std::this_thread::get_id());
}

TEST_F(LoopCallsTest, KeepsTheOrderOfPostedWork) {
  LoopCalls calls(*loop_);
  std::string order;
  for (const char letter : {'a', 'b', 'c'}) calls.post([&order, letter] { order += letter; });
  calls.post([&] { loop_->stop(); });

  ASSERT_TRUE(loop_->run());

  EXPECT_EQ(order, "abc");
}

TEST_F(LoopCallsTest, ClosingFreesWhoWaitsAndDropsTheWork) {
  bool ran = false;
  auto calls = std::make_unique<LoopCalls>(*loop_);
  std::thread caller([&] { calls->call([&] { ran = true; }); });

  calls->close();
  caller.join();
  calls.reset();
  loop_->post([&] { loop_->stop(); });
  ASSERT_TRUE(loop_->run());

  EXPECT_FALSE(ran);
}

TEST(RunControlTest, TellsWhenTheLastThreadHasParkedAndLetsThemEnd) {
  std::atomic<int> all_parked = 0;
  RunControl control(2, [&] { all_parked.fetch_add(1); });
  const auto body = [&] {
    while (control.enter()) {
    }
  };

  std::thread first(body);
  std::thread second(body);
  while (all_parked == 0) std::this_thread::yield();
  control.set_phase(RunControl::Phase::kEnding);
  first.join();
  second.join();

  EXPECT_EQ(all_parked, 1);
}

TEST(RunControlTest, AMachineThatEndsIsNotParkedAgain) {
  RunControl control(1, [] {});
  control.set_phase(RunControl::Phase::kEnding);

  control.stop_running();

  EXPECT_FALSE(control.may_run());
  EXPECT_FALSE(control.enter());
}

}  // namespace
}  // namespace machine
