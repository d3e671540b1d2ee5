#include "vmm/devices/rng/rng.h"

#include <gtest/gtest.h>

#include "vmm/virtio/fake_driver.h"

namespace devices {
namespace {

class RngDeviceTest : public testing::Test {
 protected:
  void SetUp() override { driver_.start(); }

  RngDevice rng_;
  virtio::FakeDriver driver_{rng_};
};

TEST_F(RngDeviceTest, FillsABufferWithDifferentBytesEachTime) {
  driver_.queue(0).offer({{.at = 0x80000, .size = 32, .writable = true}});
  driver_.queue(0).offer({{.at = 0x90000, .size = 32, .writable = true}});

  driver_.kick(0);

  EXPECT_EQ(driver_.queue(0).take_used()->written, 32u);
  EXPECT_EQ(driver_.queue(0).take_used()->written, 32u);
  const std::string first = driver_.memory.text(0x80000, 32);
  EXPECT_NE(first, std::string(32, '\0'));
  EXPECT_NE(first, driver_.memory.text(0x90000, 32));
}

TEST_F(RngDeviceTest, FillsOnlyAStartOfAHugeBuffer) {
  driver_.queue(0).offer({{.at = 0x80000, .size = 1 << 20, .writable = true}});

  driver_.kick(0);

  EXPECT_EQ(driver_.queue(0).take_used()->written, 64u << 10);
  EXPECT_EQ(driver_.memory.text(0x80000 + (64 << 10), 16), std::string(16, '\0'));
}

TEST_F(RngDeviceTest, ReportsAnErrorForABufferOutsideGuestMemory) {
  driver_.queue(0).offer({{.at = ~std::uint64_t{0}, .size = 16, .writable = true}});

  EXPECT_EQ(rng_.on_kick(0).error().code, base::Code::kInvalidArgument);
}

}  // namespace
}  // namespace devices
