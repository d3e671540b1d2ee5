#include "vmm/devices/balloon/balloon.h"

#include <gtest/gtest.h>

#include "vmm/virtio/fake_driver.h"

namespace devices {
namespace {

constexpr std::uint64_t kPages = 0x200000;  // where the guest gives pages up
constexpr std::uint32_t kFirstPage = kPages / 4096;

class BalloonDeviceTest : public testing::Test {
 protected:
  void SetUp() override {
    driver_.start();
    for (std::uint64_t i = 0; i < 8; ++i)
      driver_.memory.put(kPages + i * 4096, std::string("used"));
  }

  void inflate(const std::vector<std::uint32_t>& pages) {
    const std::uint64_t list = driver_.memory.allocate(4 * pages.size());
    for (std::size_t i = 0; i < pages.size(); ++i) driver_.memory.put(list + 4 * i, pages[i]);
    driver_.queue(0).offer({{.at = list, .size = static_cast<std::uint32_t>(4 * pages.size())}});
    driver_.kick(0);
    EXPECT_TRUE(driver_.queue(0).take_used());
  }
  bool released(std::uint64_t page) {
    return driver_.memory.text(kPages + page * 4096, 4) == std::string(4, '\0');
  }

  BalloonDevice balloon_;
  virtio::FakeDriver driver_{balloon_};
};

TEST_F(BalloonDeviceTest, GivesInflatedPagesBack) {
  inflate({kFirstPage, kFirstPage + 1, kFirstPage + 5, kFirstPage + 4});

  EXPECT_TRUE(released(0) && released(1) && released(4) && released(5));
  EXPECT_FALSE(released(2) || released(3) || released(6));
  EXPECT_EQ(balloon_.released_bytes(), 4u * 4096);
}

TEST_F(BalloonDeviceTest, PassesOverPagesOutsideGuestMemory) {
  inflate({0xffff'ffff, 0x0f00'0000, kFirstPage});

  EXPECT_TRUE(released(0));
  EXPECT_EQ(balloon_.released_bytes(), 4096u);
}

TEST_F(BalloonDeviceTest, GivesReportedPagesBack) {
  driver_.queue(2).offer({{.at = kPages, .size = 3 * 4096, .writable = true},
                          {.at = kPages + 4 * 4096 + 100, .size = 2 * 4096, .writable = true}});

  driver_.kick(2);

  EXPECT_TRUE(driver_.queue(2).take_used());
  EXPECT_TRUE(released(0) && released(1) && released(2) && released(5));
  EXPECT_FALSE(released(3) || released(4) || released(6));
}

TEST_F(BalloonDeviceTest, ReturnsDeflatedPagesUntouched) {
  driver_.queue(1).offer({{.at = kPages, .size = 8}});

  driver_.kick(1);

  EXPECT_TRUE(driver_.queue(1).take_used());
  EXPECT_FALSE(released(0));
}

TEST_F(BalloonDeviceTest, AsksForATargetAndKeepsWhatTheGuestReports) {
  balloon_.set_target(1234);
  const std::uint32_t actual = 1000;
  driver_.transport.write(0x104, std::as_bytes(std::span(&actual, 1)));
  driver_.transport.write(0x100, std::as_bytes(std::span(&actual, 1)));

  EXPECT_EQ(driver_.config<std::uint32_t>(0), 1234u);
  EXPECT_EQ(driver_.config<std::uint32_t>(4), 1000u);
  EXPECT_EQ(balloon_.actual(), 1000u);
  EXPECT_EQ(driver_.read(0x060), 2u);
}

TEST_F(BalloonDeviceTest, KeepsItsNumbersInTemplates) {
  balloon_.set_target(77);
  driver_.transport.pause();
  wire::Encoder out;
  driver_.transport.save(out);

  BalloonDevice clone;
  virtio::FakeDriver clone_driver(clone, &driver_.memory);
  const wire::Bytes state = std::move(out).take();
  wire::Decoder in(state);
  ASSERT_TRUE(clone_driver.transport.restore(in));

  EXPECT_EQ(clone_driver.config<std::uint32_t>(0), 77u);
}

}  // namespace
}  // namespace devices
