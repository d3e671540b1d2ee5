#include "vmm/devices/console/console.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "vmm/virtio/fake_driver.h"

namespace devices {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

class ConsoleDeviceTest : public testing::Test {
 protected:
  void SetUp() override { driver_.start(); }

  void say(std::string_view text) {
    driver_.memory.put(0x80000, text);
    driver_.queue(1).offer({{.at = 0x80000, .size = static_cast<std::uint32_t>(text.size())}});
    driver_.kick(1);
  }

  ConsoleDevice console_;
  virtio::FakeDriver driver_{console_};
};

TEST_F(ConsoleDeviceTest, KeepsWhatTheGuestSays) {
  say("hello ");
  say("world");

  EXPECT_EQ(console_.tail(100), "hello world");
  EXPECT_EQ(console_.tail(5), "world");
  EXPECT_TRUE(driver_.queue(1).take_used());
}

TEST_F(ConsoleDeviceTest, KeepsOnlyTheLastBytes) {
  for (char c = 'a'; c <= 'z'; ++c) say(std::string(1000, c));
  say("end");

  const std::string tail = console_.tail(1 << 20);
  EXPECT_EQ(tail.size(), ConsoleDevice::kTailBytes);
  EXPECT_EQ(tail.substr(tail.size() - 5), "zzend");
  EXPECT_EQ(tail.find('a'), std::string::npos);
}

TEST_F(ConsoleDeviceTest, KeepsOnlyTheEndOfOneHugeWrite) {
  console_.append(bytes_of(std::string(100'000, 'x') + "end"));

  EXPECT_EQ(console_.tail(4), "xend");
}

TEST_F(ConsoleDeviceTest, TakesReceiveBuffersWithoutUsingThem) {
  driver_.queue(0).offer({{.at = 0x80000, .size = 16, .writable = true}});

  driver_.kick(0);

  EXPECT_FALSE(driver_.queue(0).take_used());
}

TEST(ConsoleDeviceLogTest, CopiesOutputToTheLogAndDropsWhatItDoesNotTake) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
  const base::UniqueFd reader(ends[0]);
  ConsoleDevice console{base::UniqueFd(ends[1])};

  console.append(bytes_of("to the log"));
  std::array<char, 64> log{};
  EXPECT_EQ(::read(reader.get(), log.data(), log.size()), 10);
  EXPECT_EQ(std::string_view(log.data()), "to the log");

  for (int i = 0; i < 100; ++i) console.append(bytes_of(std::string(4096, 'x')));
  EXPECT_EQ(console.tail(3), "xxx");
}

}  // namespace
}  // namespace devices
