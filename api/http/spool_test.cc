#include "api/http/spool.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <filesystem>

namespace http {
namespace {

class SpoolTest : public testing::Test {
 protected:
  SpoolTest() {
    char name[] = "/tmp/containervm-spool-XXXXXX";
    directory_ = ::mkdtemp(name);
  }
  ~SpoolTest() override { std::filesystem::remove_all(directory_); }

  static constexpr ClientId kFirst{.uid = 0, .pid = 1};
  static constexpr ClientId kSecond{.uid = 0, .pid = 2};
  std::string directory_;
};

TEST_F(SpoolTest, AClientThatFillsItLeavesRoomForOthers) {
  SpoolSpace space(directory_);
  struct statvfs disk {};
  ASSERT_EQ(::statvfs(directory_.c_str(), &disk), 0);
  const std::uint64_t free = static_cast<std::uint64_t>(disk.f_bavail) * disk.f_frsize;

  // Nothing is written here, so the disk does not get fuller: with a quarter of it taken, what may
  // be taken is 0.62 of it, the first half of that 0.31.
  ASSERT_TRUE(space.take(kFirst, free / 100 * 24));
  ASSERT_TRUE(space.take(kSecond, free / 100 * 6));
  const auto more = space.take(kFirst, free / 100 * 6);
  const auto other = space.take({.uid = 0, .pid = 3}, free / 100 * 6);

  ASSERT_FALSE(more);
  EXPECT_EQ(more.error().code, base::Code::kResourceExhausted);
  EXPECT_TRUE(other);
  space.give_back(kFirst, free / 100 * 24);
  EXPECT_TRUE(space.take(kFirst, free / 100 * 6));
}

TEST_F(SpoolTest, AFileGoesWithoutATrace) {
  async::BlockingPool pool(1);
  Spool spool(pool, directory_);
  auto file = spool.open(kFirst);
  ASSERT_TRUE(file);

  const std::string text = "what a client sends";
  ASSERT_TRUE((*file)->write(std::as_bytes(std::span(text))));

  EXPECT_EQ((*file)->size(), text.size());
  EXPECT_TRUE(std::filesystem::is_empty(directory_));
}

TEST_F(SpoolTest, ZerosAreHoles) {
  async::BlockingPool pool(1);
  Spool spool(pool, directory_);
  auto file = spool.open(kFirst);
  ASSERT_TRUE(file);
  std::string text(1u << 20, '\0');
  text[500'000] = 'x';

  for (const std::string& piece : {text.substr(0, 10'000), text.substr(10'000)})
    ASSERT_TRUE((*file)->write(std::as_bytes(std::span(piece))));

  struct stat status {};
  ASSERT_EQ(::fstat((*file)->fd(), &status), 0);
  EXPECT_EQ(status.st_size, static_cast<off_t>(text.size()));
  EXPECT_LT(status.st_blocks * 512, 64 << 10);
  std::string got(text.size(), 'y');
  ASSERT_EQ(::pread((*file)->fd(), got.data(), got.size(), 0), static_cast<ssize_t>(got.size()));
  EXPECT_EQ(got, text);
}

TEST_F(SpoolTest, SaysWhenItsDirectoryIsNotThere) {
  async::BlockingPool pool(1);
  Spool spool(pool, directory_ + "/none");

  EXPECT_FALSE(spool.open(kFirst));
}

TEST(SpoolMemoryTest, PiecesAreSmallWhileMuchOfThisSpoolsIsInMemory) {
  SpoolMemory crowded;
  const SpoolMemory other;
  const std::size_t large = crowded.piece_limit();

  crowded.take(64u << 20);

  EXPECT_LT(crowded.piece_limit(), large);
  EXPECT_EQ(other.piece_limit(), large);
  crowded.give_back(64u << 20);
  EXPECT_EQ(crowded.piece_limit(), large);
}

}  // namespace
}  // namespace http
