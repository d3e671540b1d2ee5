#include "vmm/devices/pmem/pmem.h"

#include <gtest/gtest.h>

#include "vmm/virtio/fake_driver.h"

namespace devices {
namespace {

class PmemDeviceTest : public testing::Test {
 protected:
  void SetUp() override { driver_.start(); }

  /// What the device answers to a request of this type.
  std::uint32_t answer_to(std::uint32_t type) {
    driver_.memory.put(0x80000, type);
    driver_.memory.put(0x90000, std::uint32_t{0x5555});
    driver_.queue(0).offer(
        {{.at = 0x80000, .size = 4}, {.at = 0x90000, .size = 4, .writable = true}});
    driver_.kick(0);
    EXPECT_EQ(driver_.queue(0).take_used()->written, 4u);
    return driver_.memory.take<std::uint32_t>(0x90000);
  }

  PmemDevice pmem_{{.start = {0x1'4000'0000}, .size = 0x4000'0000}};
  virtio::FakeDriver driver_{pmem_};
};

TEST_F(PmemDeviceTest, TellsWhereItsMemoryIs) {
  std::array<std::uint64_t, 2> config{};

  pmem_.read_config(0, std::as_writable_bytes(std::span(config)));

  EXPECT_EQ(config[0], 0x1'4000'0000u);
  EXPECT_EQ(config[1], 0x4000'0000u);
}

TEST_F(PmemDeviceTest, HasAlwaysFlushed) { EXPECT_EQ(answer_to(0), 0u); }

TEST_F(PmemDeviceTest, RefusesRequestsThatItDoesNotKnow) { EXPECT_EQ(answer_to(1), 0xffff'ffffu); }

TEST_F(PmemDeviceTest, ReportsAnErrorForARequestWithoutTypeOrRoomForAnAnswer) {
  driver_.queue(0).offer(
      {{.at = 0x80000, .size = 2}, {.at = 0x90000, .size = 4, .writable = true}});
  EXPECT_EQ(pmem_.on_kick(0).error().code, base::Code::kInvalidArgument);

  driver_.queue(0).offer(
      {{.at = 0x80000, .size = 4}, {.at = 0x90000, .size = 3, .writable = true}});
  EXPECT_EQ(pmem_.on_kick(0).error().code, base::Code::kInvalidArgument);
}

}  // namespace
}  // namespace devices
