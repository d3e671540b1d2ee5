#include "vmm/arch/x86_64/ioapic.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace x86_64 {
namespace {

class RecordingSink final : public InterruptSink {
 public:
  void deliver(const kvm::Msi& msi) override { delivered.push_back(msi); }
  void set_level_routes(std::span<const kvm::MsiRoute> given) override {
    routes.assign(given.begin(), given.end());
  }
  std::vector<kvm::Msi> delivered;
  std::vector<kvm::MsiRoute> routes;
};

class IoapicTest : public testing::Test {
 protected:
  static constexpr std::uint64_t kMasked = 1u << 16;
  static constexpr std::uint64_t kLevel = 1u << 15;

  void write_window(std::uint64_t offset, std::uint32_t value) {
    ioapic_.write(offset, std::as_bytes(std::span(&value, 1)));
  }
  std::uint32_t read_register(std::uint8_t index) {
    write_window(0x00, index);
    std::uint32_t value = 0;
    ioapic_.read(0x10, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
  void program(std::uint32_t pin, std::uint64_t entry) {
    write_window(0x00, 0x11 + 2 * pin);
    write_window(0x10, static_cast<std::uint32_t>(entry >> 32));
    write_window(0x00, 0x10 + 2 * pin);
    write_window(0x10, static_cast<std::uint32_t>(entry));
  }

  RecordingSink sink_;
  Ioapic ioapic_{sink_};
};

TEST_F(IoapicTest, SendsAnEdgeAsTheMessageItsEntryDescribes) {
  program(5, (std::uint64_t{3} << 56) | 0x41);

  ioapic_.pulse(5);

  ASSERT_EQ(sink_.delivered.size(), 1u);
  EXPECT_EQ(sink_.delivered[0].address, 0xfee03000u);
  EXPECT_EQ(sink_.delivered[0].data, 0x41u);
}

TEST_F(IoapicTest, KeepsAnEdgeOnAMaskedPinUntilItIsUnmasked) {
  program(7, kMasked | 0x50);
  ioapic_.pulse(7);
  ioapic_.pulse(7);
  ASSERT_TRUE(sink_.delivered.empty());

  program(7, 0x50);

  EXPECT_EQ(sink_.delivered.size(), 1u);
}

TEST_F(IoapicTest, SendsALevelAgainAfterEachEndOfInterruptWhileItIsHigh) {
  program(9, kLevel | 0x60);
  ioapic_.set_level(9, true);
  ioapic_.set_level(9, true);
  ASSERT_EQ(sink_.delivered.size(), 1u);

  ioapic_.end_of_interrupt(0x60);
  ASSERT_EQ(sink_.delivered.size(), 2u);
  ioapic_.set_level(9, false);
  ioapic_.end_of_interrupt(0x60);

  EXPECT_EQ(sink_.delivered.size(), 2u);
}

TEST_F(IoapicTest, AsksForTheEndOfInterruptOfLevelPinsOnly) {
  program(3, 0x30);
  program(4, kLevel | 0x31);

  ASSERT_EQ(sink_.routes.size(), 1u);
  EXPECT_EQ(sink_.routes[0].pin, 4u);

  program(4, kMasked | kLevel | 0x31);
  EXPECT_TRUE(sink_.routes.empty());
}

TEST_F(IoapicTest, AnswersEveryRegisterIndexAndAccessSize) {
  for (unsigned index = 0; index < 256; ++index) {
    const auto value = read_register(static_cast<std::uint8_t>(index));
    if (index == 1) {
      EXPECT_EQ(value, 0x00170011u);
    }
    write_window(0x10, 0xffffffff);
  }
  for (std::size_t size = 1; size <= 8; ++size) {
    std::vector<std::byte> bytes(size, std::byte{0xff});
    ioapic_.write(0x10, bytes);
    ioapic_.read(0x10, bytes);
    ioapic_.read(0xff, bytes);
    EXPECT_EQ(bytes[0], std::byte{0});
  }
  ioapic_.pulse(kIoapicPins);
  ioapic_.set_level(~0u, true);
}

TEST_F(IoapicTest, GoesOnAfterRestoreWhereItWasSaved) {
  program(9, kLevel | 0x60);
  ioapic_.set_level(9, true);
  program(7, kMasked | 0x50);
  ioapic_.pulse(7);
  wire::Encoder saved;
  ioapic_.save(saved);
  const auto bytes = std::move(saved).take();

  RecordingSink sink;
  Ioapic clone(sink);
  wire::Decoder in(bytes);
  ASSERT_TRUE(clone.restore(in));

  EXPECT_EQ(in.remaining(), 0u);
  EXPECT_EQ(sink.routes.size(), 1u);
  clone.end_of_interrupt(0x60);
  EXPECT_EQ(sink.delivered.size(), 1u);
}

TEST_F(IoapicTest, RefusesEveryTruncatedState) {
  wire::Encoder saved;
  ioapic_.save(saved);
  const auto bytes = std::move(saved).take();

  for (std::size_t size = 0; size < bytes.size(); ++size) {
    Ioapic clone(sink_);
    const std::span<const std::byte> whole(bytes);
    wire::Decoder in(whole.first(size));
    EXPECT_EQ(clone.restore(in).error().code, base::Code::kDataLoss) << size;
  }
}

}  // namespace
}  // namespace x86_64
