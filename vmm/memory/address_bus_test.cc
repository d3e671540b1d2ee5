#include "vmm/memory/address_bus.h"

#include <gtest/gtest.h>

#include <array>
#include <limits>

namespace memory {
namespace {

class Recorder final : public Responder {
 public:
  void read(std::uint64_t offset, std::span<std::byte> out) override {
    last_offset = offset;
    for (std::byte& b : out) b = std::byte{0x5a};
  }
  void write(std::uint64_t offset, std::span<const std::byte> in) override {
    last_offset = offset;
    written = in.size();
  }
  std::uint64_t last_offset = 0;
  std::size_t written = 0;
};

TEST(AddressBusTest, GivesTheOffsetInsideTheRange) {
  AddressBus bus;
  Recorder device;
  ASSERT_TRUE(bus.add(0x1000, 0x100, device));

  std::array<std::byte, 4> value{};
  bus.write(0x10fc, value);

  EXPECT_EQ(device.last_offset, 0xfcu);
  EXPECT_EQ(device.written, 4u);
}

TEST(AddressBusTest, ReadsAllOnesWhereNobodyAnswers) {
  AddressBus bus;
  Recorder device;
  ASSERT_TRUE(bus.add(0x1000, 0x100, device));

  for (const std::uint64_t address :
       {std::uint64_t{0xfff}, std::uint64_t{0x1100}, std::numeric_limits<std::uint64_t>::max()}) {
    std::array<std::byte, 2> value{};
    bus.read(address, value);
    EXPECT_EQ(value[0], std::byte{0xff}) << address;
  }
}

TEST(AddressBusTest, RefusesRangesThatOverlapOrWrap) {
  AddressBus bus;
  Recorder device;
  ASSERT_TRUE(bus.add(0x1000, 0x100, device));

  EXPECT_EQ(bus.add(0x10ff, 1, device).error().code, base::Code::kAlreadyExists);
  EXPECT_EQ(bus.add(0xf01, 0x100, device).error().code, base::Code::kAlreadyExists);
  EXPECT_EQ(bus.add(~std::uint64_t{0}, 2, device).error().code, base::Code::kInvalidArgument);
  EXPECT_EQ(bus.add(0x2000, 0, device).error().code, base::Code::kInvalidArgument);
}

}  // namespace
}  // namespace memory
