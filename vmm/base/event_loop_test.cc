#include "vmm/base/event_loop.h"

#include <gtest/gtest.h>

#include <thread>

namespace base {
namespace {

class EventLoopTest : public testing::Test {
 protected:
  std::unique_ptr<EventLoop> loop_ = *EventLoop::create();
  EventFd first_ = *EventFd::create();
  EventFd second_ = *EventFd::create();
};

TEST_F(EventLoopTest, CallsTheHandlerOfAReadyDescriptor) {
  std::uint32_t seen = 0;
  auto watch = *loop_->watch(first_.get(), EPOLLIN, [&](std::uint32_t events) { seen = events; });

  ASSERT_TRUE(loop_->run_once(0));
  EXPECT_EQ(seen, 0u);
  first_.signal();
  ASSERT_TRUE(loop_->run_once(0));
  EXPECT_EQ(seen, std::uint32_t{EPOLLIN});
}

TEST_F(EventLoopTest, ForgetsAWatchThatAnotherHandlerEnds) {
  int calls = 0;
  EventLoop::Watch watches[2];
  watches[0] = *loop_->watch(first_.get(), EPOLLIN, [&](std::uint32_t) {
    ++calls;
    watches[1].reset();
  });
  watches[1] = *loop_->watch(second_.get(), EPOLLIN, [&](std::uint32_t) {
    ++calls;
    watches[0].reset();
  });
  first_.signal();
  second_.signal();

  ASSERT_TRUE(loop_->run_once(0));
  ASSERT_TRUE(loop_->run_once(0));

  EXPECT_GE(calls, 1);
  EXPECT_NE(watches[0].active(), watches[1].active());
}

TEST_F(EventLoopTest, LetsAHandlerEndItsOwnWatch) {
  EventLoop::Watch watch;
  int calls = 0;
  watch = *loop_->watch(first_.get(), EPOLLIN, [&](std::uint32_t) {
    watch.reset();
    ++calls;
  });
  first_.signal();

  ASSERT_TRUE(loop_->run_once(0));
  ASSERT_TRUE(loop_->run_once(0));

  EXPECT_EQ(calls, 1);
}

TEST_F(EventLoopTest, ChangesTheAwaitedEvents) {
  std::uint32_t seen = 0;
  auto watch = *loop_->watch(first_.get(), 0, [&](std::uint32_t events) { seen = events; });
  first_.signal();
  ASSERT_TRUE(loop_->run_once(0));
  EXPECT_EQ(seen, 0u);

  ASSERT_TRUE(watch.set_events(EPOLLIN));
  ASSERT_TRUE(loop_->run_once(0));
  EXPECT_EQ(seen, std::uint32_t{EPOLLIN});
}

TEST_F(EventLoopTest, RunsDeferredWorkOncePerSchedule) {
  int runs = 0;
  EventLoop::Deferred deferred(*loop_, [&] { ++runs; });
  deferred.schedule();
  deferred.schedule();

  ASSERT_TRUE(loop_->run_once(-1));
  ASSERT_TRUE(loop_->run_once(0));

  EXPECT_EQ(runs, 1);
}

TEST_F(EventLoopTest, LetsDeferredWorkCancelOtherWork) {
  int runs = 0;
  EventLoop::Deferred second(*loop_, [&] { ++runs; });
  EventLoop::Deferred first(*loop_, [&] { second.cancel(); });
  first.schedule();
  second.schedule();

  ASSERT_TRUE(loop_->run_once(0));

  EXPECT_EQ(runs, 0);
}

TEST_F(EventLoopTest, RunsPostedWorkOfOtherThreadsAndStops) {
  int runs = 0;
  std::thread other([&] {
    loop_->post([&] { ++runs; });
    loop_->post([&] { loop_->stop(); });
  });

  ASSERT_TRUE(loop_->run());
  other.join();

  EXPECT_EQ(runs, 1);
}

}  // namespace
}  // namespace base
