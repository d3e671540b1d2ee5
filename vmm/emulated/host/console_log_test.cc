#include "vmm/emulated/host/console_log.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <fstream>

namespace emulated {
namespace {

class ConsoleLogTest : public testing::Test {
 protected:
  ConsoleLogTest() {
    std::string name = testing::TempDir() + "console-log-XXXXXX";
    directory_ = ::mkdtemp(name.data());
    int fds[2];
    EXPECT_EQ(::pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    console_.reset(fds[0]);
    guest_.reset(fds[1]);
  }
  ~ConsoleLogTest() override { std::filesystem::remove_all(directory_); }

  void say(const std::string& text) {
    ASSERT_EQ(::write(guest_.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }

  std::filesystem::path directory_;
  base::UniqueFd console_;
  base::UniqueFd guest_;
};

TEST_F(ConsoleLogTest, KeepsWhatTheConsoleSays) {
  auto log = ConsoleLog::create(directory_ / "log");
  ASSERT_TRUE(log);
  say("one\ntwo\n");

  log->read_from(console_.get());

  std::ifstream file(directory_ / "log");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), "one\ntwo\n");
  EXPECT_EQ(log->tail(), "one\ntwo\n");
}

TEST_F(ConsoleLogTest, ShowsOnlyPrintableTextInTheTail) {
  auto log = ConsoleLog::create(directory_ / "log");
  ASSERT_TRUE(log);
  say("\x1b]0;title\x07plain\n");

  log->read_from(console_.get());

  EXPECT_EQ(log->tail(), "]0;titleplain\n");
}

TEST_F(ConsoleLogTest, BoundsTheFilesAGuestCanFill) {
  auto log = ConsoleLog::create(directory_ / "log");
  ASSERT_TRUE(log);
  const std::string much(32u << 10, 'x');

  for (std::size_t written = 0; written < 3 * ConsoleLog::kMaxSize; written += much.size()) {
    say(much);
    log->read_from(console_.get());
  }

  std::uintmax_t total = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory_))
    total += entry.file_size();
  EXPECT_LE(total, 2 * ConsoleLog::kMaxSize + much.size());
}

}  // namespace
}  // namespace emulated
