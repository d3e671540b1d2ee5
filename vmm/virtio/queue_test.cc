#include "vmm/virtio/queue.h"

#include <gtest/gtest.h>

#include "vmm/virtio/fake_driver.h"

namespace virtio {
namespace {

using base::Code;

class QueueTest : public testing::Test {
 protected:
  static constexpr std::uint16_t kSize = 8;

  Queue make(std::uint64_t features = kFeatureIndirectDescriptors) {
    return *Queue::create(memory_, driver_.layout(), features, [this] { ++interrupts_; });
  }
  Code pop_error() {
    const auto popped = queue_.pop(chain_);
    return popped ? Code::kInternal : popped.error().code;
  }

  FakeMemory memory_;
  FakeQueue driver_{memory_, kSize};
  int interrupts_ = 0;
  Queue queue_ = make();
  Chain chain_;
};

TEST_F(QueueTest, IsEmptyAtFirst) {
  EXPECT_FALSE(queue_.available());
  EXPECT_FALSE(*queue_.pop(chain_));
}

TEST_F(QueueTest, GivesReadableAndWritableParts) {
  const auto head = driver_.offer({{.at = 0x8000, .size = 16},
                                   {.at = 0x9000, .size = 32},
                                   {.at = 0xa000, .size = 64, .writable = true}});

  ASSERT_TRUE(*queue_.pop(chain_));

  EXPECT_EQ(chain_.head, head);
  EXPECT_EQ(chain_.readable.size(), 48u);
  EXPECT_EQ(chain_.readable.parts().size(), 2u);
  EXPECT_EQ(chain_.writable.size(), 64u);
}

TEST_F(QueueTest, FollowsAnIndirectTable) {
  driver_.offer_indirect({{.at = 0x8000, .size = 16}, {.at = 0x9000, .size = 4, .writable = true}});

  ASSERT_TRUE(*queue_.pop(chain_));

  EXPECT_EQ(chain_.readable.size(), 16u);
  EXPECT_EQ(chain_.writable.size(), 4u);
}

TEST_F(QueueTest, FollowsAnIndirectTableAfterDirectDescriptors) {
  const std::uint64_t table = memory_.allocate(16);
  memory_.put(table, std::uint64_t{0x9000});
  memory_.put(table + 8, std::uint32_t{4});
  driver_.put_descriptor(0, 0x8000, 16, FakeQueue::kNext, 1);
  driver_.put_descriptor(1, table, 16, FakeQueue::kIndirect, 0);
  driver_.publish(0);

  ASSERT_TRUE(*queue_.pop(chain_));

  EXPECT_EQ(chain_.readable.size(), 20u);
}

TEST_F(QueueTest, AcceptsAChainAsLongAsTheQueue) {
  driver_.offer(std::vector<FakeQueue::Buffer>(kSize, {.at = 0x8000, .size = 1}));

  ASSERT_TRUE(*queue_.pop(chain_));

  EXPECT_EQ(chain_.readable.size(), std::size_t{kSize});
}

TEST_F(QueueTest, RefusesALoop) {
  driver_.put_descriptor(0, 0x8000, 1, FakeQueue::kNext, 1);
  driver_.put_descriptor(1, 0x8000, 1, FakeQueue::kNext, 0);
  driver_.publish(0);

  EXPECT_EQ(pop_error(), Code::kInvalidArgument);
}

TEST_F(QueueTest, RefusesALoopInsideAnIndirectTable) {
  const std::uint64_t table = memory_.allocate(16);
  memory_.put(table, std::uint64_t{0x9000});
  memory_.put(table + 8, std::uint32_t{4});
  memory_.put(table + 12, FakeQueue::kNext);
  driver_.put_descriptor(0, table, 16, FakeQueue::kIndirect, 0);
  driver_.publish(0);

  EXPECT_EQ(pop_error(), Code::kInvalidArgument);
}

TEST_F(QueueTest, RefusesNestedIndirectTables) {
  const std::uint64_t table = memory_.allocate(16);
  memory_.put(table, table);
  memory_.put(table + 8, std::uint32_t{16});
  memory_.put(table + 12, FakeQueue::kIndirect);
  driver_.put_descriptor(0, table, 16, FakeQueue::kIndirect, 0);
  driver_.publish(0);

  EXPECT_EQ(pop_error(), Code::kInvalidArgument);
}

TEST_F(QueueTest, RefusesIndirectTablesOfOddSizeAndWithANextFlag) {
  driver_.put_descriptor(0, 0x8000, 24, FakeQueue::kIndirect, 0);
  driver_.publish(0);
  EXPECT_EQ(pop_error(), Code::kInvalidArgument);

  driver_.put_descriptor(0, 0x8000, 16, FakeQueue::kIndirect | FakeQueue::kNext, 0);
  EXPECT_EQ(pop_error(), Code::kInvalidArgument);
}

TEST_F(QueueTest, RefusesIndirectTablesThatWereNotNegotiated) {
  queue_ = make(0);
  driver_.offer_indirect({{.at = 0x8000, .size = 16}});

  EXPECT_EQ(pop_error(), Code::kInvalidArgument);
}

TEST_F(QueueTest, GivesReadOnlyMemoryAsAReadableBufferOnly) {
  driver_.offer({{.at = FakeMemory::kFixedStart + 16, .size = 32}});
  driver_.offer({{.at = FakeMemory::kFixedStart + 16, .size = 32, .writable = true}});

  ASSERT_TRUE(*queue_.pop(chain_));
  EXPECT_EQ(chain_.readable.size(), 32u);
  EXPECT_EQ(pop_error(), Code::kInvalidArgument);
}

TEST_F(QueueTest, RefusesARingInReadOnlyMemory) {
  Queue::Layout layout = driver_.layout();
  layout.used = {FakeMemory::kFixedStart};

  EXPECT_FALSE(Queue::create(memory_, layout, 0, [] {}));
}

TEST_F(QueueTest, RefusesBuffersOutsideGuestMemory) {
  driver_.offer({{.at = ~std::uint64_t{0}, .size = 16}});
  EXPECT_EQ(pop_error(), Code::kInvalidArgument);

  driver_.put_descriptor(0, FakeMemory::kLowSize - 8, 16, 0, 0);
  EXPECT_EQ(pop_error(), Code::kInvalidArgument);
}

TEST_F(QueueTest, RefusesEmptyDescriptorsAndReadableAfterWritable) {
  driver_.offer({{.at = 0x8000, .size = 0}});
  EXPECT_EQ(pop_error(), Code::kInvalidArgument);

  driver_.put_descriptor(0, 0x8000, 1, FakeQueue::kNext | FakeQueue::kWrite, 1);
  driver_.put_descriptor(1, 0x8000, 1, 0, 0);
  EXPECT_EQ(pop_error(), Code::kInvalidArgument);
}

TEST_F(QueueTest, RefusesHeadsAndNextsOutsideTheTable) {
  driver_.publish(kSize);
  EXPECT_EQ(pop_error(), Code::kInvalidArgument);

  driver_.set_available_index(0);
  driver_.put_descriptor(0, 0x8000, 1, FakeQueue::kNext, kSize);
  driver_.publish(0);
  EXPECT_EQ(pop_error(), Code::kInvalidArgument);
}

TEST_F(QueueTest, RefusesAnAvailableIndexThatRunsAhead) {
  driver_.set_available_index(kSize + 1);

  EXPECT_EQ(pop_error(), Code::kInvalidArgument);
}

TEST_F(QueueTest, ReportsCompletedChainsInOrder) {
  const auto first = driver_.offer({{.at = 0x8000, .size = 1}});
  const auto second = driver_.offer({{.at = 0x8000, .size = 9, .writable = true}});
  ASSERT_TRUE(*queue_.pop(chain_) && *queue_.pop(chain_));

  queue_.complete(second, 9);
  queue_.complete(first, 0);

  const auto used = driver_.take_used();
  EXPECT_EQ(used->head, second);
  EXPECT_EQ(used->written, 9u);
  EXPECT_EQ(driver_.take_used()->head, first);
  EXPECT_FALSE(driver_.take_used());
}

TEST_F(QueueTest, WorksOnPastTheWrapOfItsIndices) {
  for (int i = 0; i < 70000; ++i) {
    driver_.offer({{.at = 0x8000, .size = 1}});
    ASSERT_TRUE(*queue_.pop(chain_));
    queue_.complete(chain_.head, 0);
    ASSERT_EQ(driver_.take_used()->head, chain_.head);
  }
  EXPECT_FALSE(queue_.available());
}

TEST_F(QueueTest, GivesPoppedChainsBack) {
  const auto head = driver_.offer({{.at = 0x8000, .size = 1}});
  driver_.offer({{.at = 0x8000, .size = 1}});
  ASSERT_TRUE(*queue_.pop(chain_) && *queue_.pop(chain_));

  queue_.undo_pop(2);

  ASSERT_TRUE(*queue_.pop(chain_));
  EXPECT_EQ(chain_.head, head);
}

TEST_F(QueueTest, InterruptsOncePerBatchUnlessTheDriverMasks) {
  queue_.interrupt();
  EXPECT_EQ(interrupts_, 0);

  queue_.complete(0, 0);
  queue_.complete(1, 0);
  queue_.interrupt();
  EXPECT_EQ(interrupts_, 1);

  driver_.set_available_flags(1);
  queue_.complete(0, 0);
  queue_.interrupt();
  EXPECT_EQ(interrupts_, 1);
}

TEST_F(QueueTest, InterruptsOnlyAtTheWantedEntryWithEventIndex) {
  queue_ = make(kFeatureEventIndex);
  driver_.set_used_event(2);

  queue_.complete(0, 0);
  queue_.complete(0, 0);
  queue_.interrupt();
  EXPECT_EQ(interrupts_, 0);

  queue_.complete(0, 0);
  queue_.interrupt();
  EXPECT_EQ(interrupts_, 1);
}

TEST_F(QueueTest, TellsTheDriverWhetherToKick) {
  queue_.stop_kicks();
  EXPECT_EQ(driver_.used_flags(), 1);
  driver_.offer({{.at = 0x8000, .size = 1}});
  EXPECT_TRUE(queue_.resume_kicks());
  EXPECT_EQ(driver_.used_flags(), 0);

  queue_ = make(kFeatureEventIndex);
  ASSERT_TRUE(*queue_.pop(chain_));
  EXPECT_FALSE(queue_.resume_kicks());
  EXPECT_EQ(driver_.available_event(), 1);
}

TEST_F(QueueTest, ContinuesAtASavedPosition) {
  driver_.offer({{.at = 0x8000, .size = 1}});
  ASSERT_TRUE(*queue_.pop(chain_));
  queue_.complete(chain_.head, 0);
  const Queue::Position saved = queue_.position();

  queue_ = make();
  queue_.set_position(saved);

  EXPECT_FALSE(queue_.available());
  driver_.offer({{.at = 0x9000, .size = 1}});
  EXPECT_TRUE(*queue_.pop(chain_));
}

TEST_F(QueueTest, RefusesLayoutsThatAreNotAllowed) {
  const auto refused = [this](auto change) {
    Queue::Layout layout = driver_.layout();
    change(layout);
    return !Queue::create(memory_, layout, 0, [] {});
  };
  EXPECT_TRUE(refused([](auto& l) { l.size = 0; }));
  EXPECT_TRUE(refused([](auto& l) { l.size = 12; }));
  EXPECT_TRUE(refused([](auto& l) { l.descriptors.value += 8; }));
  EXPECT_TRUE(refused([](auto& l) { l.available.value += 1; }));
  EXPECT_TRUE(refused([](auto& l) { l.used.value += 2; }));
  EXPECT_TRUE(refused([](auto& l) { l.used.value = FakeMemory::kLowSize - 16; }));
  EXPECT_FALSE(refused([](auto&) {}));
}

TEST_F(QueueTest, DrainStopsAtItsBudget) {
  queue_ = make(kFeatureEventIndex);
  int served = 0;
  const auto serve = [&](Chain&) {
    ++served;
    driver_.offer({{.at = 0x8000, .size = 1}});  // a driver that never lets go
    return base::Result<std::uint32_t>(0u);
  };
  driver_.offer({{.at = 0x8000, .size = 1}});

  EXPECT_EQ(*drain(queue_, chain_, serve), Progress::kMore);
  EXPECT_EQ(served, 512);
}

}  // namespace
}  // namespace virtio
