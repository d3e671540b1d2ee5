#include "vmm/emulated/host/relays/datagram_queue.h"

#include <gtest/gtest.h>

namespace emulated {
namespace {

wire::Bytes datagram(std::size_t size) { return wire::Bytes(size, std::byte{'x'}); }

TEST(DatagramQueueTest, TakesTheLongestDatagramAndNoLongerOne) {
  DatagramQueue queue;

  EXPECT_FALSE(queue.push(datagram(kMaxDatagram + 1)));
  EXPECT_TRUE(queue.push(datagram(kMaxDatagram)));
  EXPECT_EQ(queue.next()->size(), kMaxDatagramFrame);
}

TEST(DatagramQueueTest, HasABoundForEmptyDatagrams) {
  DatagramQueue queue;

  std::size_t taken = 0;
  while (queue.push({})) ++taken;

  EXPECT_GT(taken, 1000u);
  EXPECT_LE(taken, DatagramQueue::kMost / DatagramQueue::kOverhead);
}

TEST(DatagramQueueTest, KeepsBackWhatTheWindowDoesNotTake) {
  DatagramQueue queue;
  ASSERT_TRUE(queue.push(datagram(40'000)));
  ASSERT_TRUE(queue.push(datagram(40'000)));
  const std::size_t first = queue.next()->size();

  EXPECT_FALSE(queue.next());
  ASSERT_TRUE(queue.on_credit(first));
  EXPECT_TRUE(queue.next());
}

TEST(DatagramQueueTest, RefusesCreditForWhatWasNotSent) {
  DatagramQueue queue;
  ASSERT_TRUE(queue.push(datagram(10)));

  const auto credited = queue.on_credit(1);

  ASSERT_FALSE(credited);
  EXPECT_EQ(credited.error().code, base::Code::kDataLoss);
}

}  // namespace
}  // namespace emulated
