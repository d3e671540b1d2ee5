#include "api/machines/disks/ext4_disks.h"

#include <sys/stat.h>

#include "api/async/blocking_pool.h"
#include "api/async/testing/loop_fixture.h"
#include "api/machines/disks/sparse_copy.h"

namespace engine::testing {
namespace {

namespace fs = std::filesystem;

using async::testing::TemporaryDirectory;
using base::Code;

struct stat status_of(const fs::path& path) {
  struct stat status {};
  EXPECT_EQ(::stat(path.c_str(), &status), 0) << path;
  return status;
}

class Ext4DisksTest : public async::testing::LoopFixture {
 protected:
  ~Ext4DisksTest() override { run(disks_.close()); }

  fs::path root() const { return directory_.path() / "disks"; }

  async::BlockingPool pool_{1};
  Ext4Disks disks_{executor(), pool_, root(), 2};
};

TEST_F(Ext4DisksTest, MakesASparseDiskOfTheDefaultSize) {
  ASSERT_TRUE(disks_.open());
  const fs::path path = directory_.path() / "disk";
  const auto made = run(disks_.create(path, 0));

  ASSERT_TRUE(made) << made.error().message;
  const struct stat status = status_of(path);
  EXPECT_EQ(static_cast<std::uint64_t>(status.st_size), kDefaultDiskBytes);
  EXPECT_LT(status.st_blocks * 512, 2 << 20);
}

TEST_F(Ext4DisksTest, TheDiskIsACleanExt4WithAJournal) {
  ASSERT_TRUE(disks_.open());
  const fs::path path = directory_.path() / "disk";
  ASSERT_TRUE(run(disks_.create(path, 64 << 20)));

  const std::string check = "/sbin/e2fsck -fn " + path.string() + " > /dev/null 2>&1";
  EXPECT_EQ(std::system(check.c_str()), 0);
  std::ifstream file(path, std::ios::binary);
  std::string superblock(2048, '\0');
  file.read(superblock.data(), 2048);
  EXPECT_NE(superblock[1024 + 0x5c] & 4, 0);  // compatible feature: has_journal
}

TEST_F(Ext4DisksTest, ADiskOfAnySizeTakesLittleRoomAndLeavesNothingElse) {
  ASSERT_TRUE(disks_.open());
  run(disks_.close());
  const fs::path small = directory_.path() / "small";
  const fs::path large = directory_.path() / "large";
  ASSERT_TRUE(run(disks_.create(small, 64 << 20)));
  ASSERT_TRUE(run(disks_.create(large, 4ull << 40)));

  EXPECT_EQ(static_cast<std::uint64_t>(status_of(large).st_size), 4ull << 40);
  EXPECT_LT(status_of(small).st_blocks * 512, 512 << 10);
  EXPECT_LT(status_of(large).st_blocks * 512, 16 << 20);
  for (const auto& entry : fs::directory_iterator(root()))
    EXPECT_TRUE(entry.path().filename().string().starts_with("ready-") ||
                entry.path().filename().string().starts_with("master-10737418240-"))
        << entry.path();
}

TEST(AdmitDisk, LeavesAReserveAndRoomForWhatADiskTakesAtFirst) {
  EXPECT_TRUE(admit_disk(64 << 20, 100 << 20));
  EXPECT_TRUE(admit_disk(4ull << 40, 100 << 20));
  const auto refused = admit_disk(4ull << 40, 90 << 20);

  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kResourceExhausted);
  EXPECT_NE(refused.error().message.find("no space left on device"), std::string::npos);
  EXPECT_FALSE(admit_disk(64 << 20, 0));
}

TEST_F(Ext4DisksTest, RefusesSizesOutsideTheLimitsAndTakenPaths) {
  ASSERT_TRUE(disks_.open());
  const fs::path taken = file("taken", "x");

  EXPECT_EQ(run(disks_.create(directory_.path() / "a", 1)).error().code, Code::kInvalidArgument);
  EXPECT_EQ(run(disks_.create(directory_.path() / "a", 8ull << 40)).error().code,
            Code::kInvalidArgument);
  EXPECT_EQ(run(disks_.create(taken, 0)).error().code, Code::kAlreadyExists);
  EXPECT_FALSE(fs::exists(directory_.path() / "a"));
}

TEST_F(Ext4DisksTest, TakesOverReadyDisksAndRemovesUnfinishedOnes) {
  fs::create_directories(root());
  std::ofstream(root() / "ready-2-7") << "prepared";
  std::ofstream(root() / "ready-1-7") << "of an old format";
  std::ofstream(root() / "master-67108864-v1") << "of an old format";
  std::ofstream(root() / "tmp-3") << "unfinished";
  ASSERT_TRUE(disks_.open());
  const fs::path path = directory_.path() / "disk";
  ASSERT_TRUE(run(disks_.create(path, 0)));

  std::string content;
  std::ifstream(path) >> content;
  EXPECT_EQ(content, "prepared");
  EXPECT_FALSE(fs::exists(root() / "ready-1-7"));
  EXPECT_FALSE(fs::exists(root() / "master-67108864-v1"));
  EXPECT_FALSE(fs::exists(root() / "tmp-3"));
}

TEST(SparseCopyTest, CopiesDataAndKeepsHoles) {
  const TemporaryDirectory directory;
  const fs::path from = directory.path() / "from";
  std::ofstream(from) << "begin";
  fs::resize_file(from, 64 << 20);
  {
    std::fstream file(from, std::ios::in | std::ios::out);
    file.seekp(32 << 20);
    file << "middle";
  }
  const fs::path to = directory.path() / "to";
  ASSERT_TRUE(sparse_copy(from, to));

  std::ifstream copy(to);
  std::string word(6, '\0');
  copy.seekg(32 << 20);
  copy.read(word.data(), 6);
  EXPECT_EQ(word, "middle");
  EXPECT_EQ(status_of(to).st_size, 64 << 20);
  EXPECT_LT(status_of(to).st_blocks * 512, 1 << 20);
}

TEST(SparseCopyTest, NeverOverwrites) {
  const TemporaryDirectory directory;
  std::ofstream(directory.path() / "from") << "new";
  std::ofstream(directory.path() / "to") << "old";

  EXPECT_EQ(sparse_copy(directory.path() / "from", directory.path() / "to").error().code,
            Code::kAlreadyExists);
}

}  // namespace
}  // namespace engine::testing
