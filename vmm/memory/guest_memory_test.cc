#include "vmm/memory/guest_memory.h"

#include <gtest/gtest.h>

#include <limits>

namespace memory {
namespace {

class GuestMemoryTest : public testing::Test {
 protected:
  std::vector<std::byte> low_ = std::vector<std::byte>(0x1000);
  std::vector<std::byte> high_ = std::vector<std::byte>(0x2000);
  GuestMemory memory_ = *GuestMemory::create({{{0}, low_}, {{0x1'0000'0000}, high_}});
};

TEST_F(GuestMemoryTest, FindsBytesInEachRegion) {
  EXPECT_EQ(memory_.find({0x10}, 4).data(), low_.data() + 0x10);
  EXPECT_EQ(memory_.find({0x1'0000'1000}, 0x1000).data(), high_.data() + 0x1000);
  EXPECT_EQ(memory_.size(), 0x3000u);
}

TEST_F(GuestMemoryTest, RefusesRangesThatLeaveARegion) {
  const std::uint64_t most = std::numeric_limits<std::uint64_t>::max();

  EXPECT_EQ(memory_.find({0xfff}, 2).data(), nullptr);
  EXPECT_EQ(memory_.find({0x1000}, 1).data(), nullptr);
  EXPECT_EQ(memory_.find({0xffff'ffff}, 2).data(), nullptr);
  EXPECT_EQ(memory_.find({most}, 1).data(), nullptr);
  EXPECT_EQ(memory_.find({1}, most).data(), nullptr);
  EXPECT_EQ(memory_.slice({0x1'0000'2000}, 1).error().code, base::Code::kInvalidArgument);
}

TEST_F(GuestMemoryTest, CopiesValuesInAndOut) {
  ASSERT_TRUE(memory_.write({0x20}, std::uint32_t{0x12345678}));

  EXPECT_EQ(*memory_.read<std::uint32_t>({0x20}), 0x12345678u);
  EXPECT_EQ(memory_.read<std::uint32_t>({0xffe}).error().code, base::Code::kInvalidArgument);
}

TEST_F(GuestMemoryTest, GivesReadOnlyRegionsToReadersOnly) {
  std::vector<std::byte> fixed(0x1000);
  const auto memory = GuestMemory::create({{{0}, low_}, {{0x10000}, fixed, /*read_only=*/true}});

  ASSERT_TRUE(memory);
  EXPECT_EQ(memory->find_readable({0x10008}, 8).data(), fixed.data() + 8);
  EXPECT_EQ(memory->find_readable({0x10}, 4).data(), low_.data() + 0x10);
  EXPECT_EQ(memory->find_readable({0x10fff}, 2).data(), nullptr);
  EXPECT_EQ(memory->find({0x10008}, 8).data(), nullptr);
  EXPECT_FALSE(memory->slice({0x10008}, 8));
  EXPECT_FALSE(memory->write({0x10008}, std::uint32_t{1}));
}

TEST_F(GuestMemoryTest, RefusesRegionsThatOverlapOrWrap) {
  EXPECT_FALSE(GuestMemory::create({{{0}, low_}, {{0xfff}, high_}}));
  EXPECT_FALSE(GuestMemory::create({{{0x1000}, low_}, {{0}, high_}}));
  EXPECT_FALSE(GuestMemory::create({{{std::numeric_limits<std::uint64_t>::max() - 5}, low_}}));
  EXPECT_FALSE(GuestMemory::create({{{0}, {}}}));
}

}  // namespace
}  // namespace memory
