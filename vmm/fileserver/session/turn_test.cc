#include "vmm/fileserver/session/turn.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace fileserver {
namespace {

class TurnTest : public testing::Test {
 protected:
  ~TurnTest() override {
    turn_.stop();
    for (std::thread& thread : threads_) thread.join();
  }
  void run(auto work) { threads_.emplace_back(work); }

  Turn turn_;
  std::vector<std::thread> threads_;
};

TEST_F(TurnTest, StaysWithTheReaderWhileRequestsAreShort) {
  run([this] { turn_.watch(); });
  ASSERT_TRUE(turn_.take());
  for (int i = 0; i < 100000; ++i) ASSERT_TRUE(turn_.end(turn_.begin()));
}

TEST_F(TurnTest, GoesToAnotherWhileARequestTakesLong) {
  run([this] { turn_.watch(); });
  ASSERT_TRUE(turn_.take());
  const std::uint64_t begun = turn_.begin();

  std::atomic<bool> other_reads = false;
  run([&] { other_reads = turn_.take(); });
  while (!other_reads) std::this_thread::yield();

  EXPECT_FALSE(turn_.end(begun));
}

TEST_F(TurnTest, IsWatchedAgainAfterAQuietTime) {
  run([this] { turn_.watch(); });
  ASSERT_TRUE(turn_.take());
  ASSERT_TRUE(turn_.end(turn_.begin()));
  std::this_thread::sleep_for(Turn::kLong * 100);  // nobody looks any more
  const std::uint64_t begun = turn_.begin();

  std::atomic<bool> other_reads = false;
  run([&] { other_reads = turn_.take(); });
  while (!other_reads) std::this_thread::yield();

  EXPECT_FALSE(turn_.end(begun));
}

TEST_F(TurnTest, EachRequestIsReadByOne) {
  constexpr int kRequests = 3000;
  std::atomic<int> readers = 0;
  std::atomic<int> left = kRequests;
  run([this] { turn_.watch(); });
  const auto serve = [&] {
    while (left > 0 && turn_.take()) {
      for (bool reads = true; reads && left > 0;) {
        EXPECT_EQ(++readers, 1);
        const int number = --left;
        --readers;
        const std::uint64_t begun = turn_.begin();
        if (number % 500 == 0) std::this_thread::sleep_for(Turn::kLong * 4);
        reads = turn_.end(begun);
      }
    }
    turn_.stop();
  };
  std::vector<std::thread> serving;
  for (int i = 0; i < 4; ++i) serving.emplace_back(serve);
  for (std::thread& thread : serving) thread.join();
  EXPECT_LE(left, 0);
}

TEST_F(TurnTest, NobodyWaitsAfterTheEnd) {
  ASSERT_TRUE(turn_.take());
  std::atomic<bool> taken = true;
  std::thread waiting([&] { taken = turn_.take(); });
  turn_.stop();
  waiting.join();
  EXPECT_FALSE(taken);
}

}  // namespace
}  // namespace fileserver
