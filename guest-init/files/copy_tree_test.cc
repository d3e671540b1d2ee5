#include "guest-init/files/copy_tree.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace guest_init {
namespace {

namespace fs = std::filesystem;

class CopyTreeTest : public testing::Test {
 protected:
  CopyTreeTest() {
    // Tests of depth hold a descriptor a level, as guest-init may.
    const rlimit many{.rlim_cur = 1u << 16, .rlim_max = 1u << 16};
    (void)setrlimit(RLIMIT_NOFILE, &many);
    char name[] = "/tmp/containervm-copy-XXXXXX";
    directory_ = ::mkdtemp(name);
    fs::create_directories(directory_ / "from");
    parent_.reset(open(directory_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    from_.reset(open((directory_ / "from").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  }
  ~CopyTreeTest() override {
    EXPECT_TRUE(remove_tree(AT_FDCWD, directory_.string()));
    EXPECT_FALSE(fs::exists(directory_));
  }

  static void write(const fs::path& path, const std::string& text) { std::ofstream(path) << text; }
  static std::string read(const fs::path& path) {
    std::stringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }
  static struct stat status_of(const fs::path& path) {
    struct stat status {};
    EXPECT_EQ(::lstat(path.c_str(), &status), 0) << path;
    return status;
  }
  static void set_time(const fs::path& path, time_t seconds, long nanoseconds) {
    const timespec times[2] = {{.tv_sec = seconds + 1, .tv_nsec = nanoseconds},
                               {.tv_sec = seconds, .tv_nsec = nanoseconds}};
    EXPECT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW), 0);
  }
  /// `levels` directories, one in the other, below `top`.
  static void make_deep(const fs::path& top, int levels) {
    base::UniqueFd at(open(top.c_str(), O_PATH | O_CLOEXEC));
    for (int i = 0; i < levels; ++i) {
      ASSERT_EQ(::mkdirat(at.get(), "d", 0755), 0);
      at.reset(::openat(at.get(), "d", O_PATH | O_CLOEXEC));
    }
    ASSERT_EQ(::mknodat(at.get(), "file", S_IFREG | 0644, 0), 0);
  }

  base::Result<CopiedTree> copy() { return copy_tree(from_.get(), parent_.get(), "to"); }

  fs::path directory_;
  fs::path to() const { return directory_ / "to"; }
  fs::path from() const { return directory_ / "from"; }
  base::UniqueFd parent_;
  base::UniqueFd from_;
};

TEST_F(CopyTreeTest, KeepsContentsOwnersModesAndTimes) {
  fs::create_directories(from() / "sub");
  write(from() / "sub/file", std::string(700'000, 'x'));
  ASSERT_EQ(::chown((from() / "sub/file").c_str(), 33, 34), 0);
  ::chmod((from() / "sub/file").c_str(), 06751);
  ::chmod((from() / "sub").c_str(), 01777);
  ASSERT_EQ(::chown(from().c_str(), 70, 71), 0);
  ::chmod(from().c_str(), 02750);
  for (const char* name : {"sub/file", "sub", ""})
    set_time(from() / name, 1'000'000'000, 123'456'789);

  const auto copied = copy();

  ASSERT_TRUE(copied) << copied.error().message;
  EXPECT_TRUE(copied->has_contents);
  EXPECT_EQ(read(to() / "sub/file"), std::string(700'000, 'x'));
  EXPECT_EQ(status_of(to() / "sub/file").st_mode & 07777u, 06751u);
  EXPECT_EQ(status_of(to() / "sub").st_mode & 07777u, 01777u);
  EXPECT_EQ(status_of(to()).st_mode & 07777u, 02750u);
  EXPECT_EQ(status_of(to() / "sub/file").st_uid, 33u);
  EXPECT_EQ(status_of(to()).st_gid, 71u);
  for (const char* name : {"sub/file", "sub", ""}) {
    EXPECT_EQ(status_of(to() / name).st_mtim.tv_sec, 1'000'000'000) << name;
    EXPECT_EQ(status_of(to() / name).st_mtim.tv_nsec, 123'456'789) << name;
  }
}

TEST_F(CopyTreeTest, CopiesLinksAsLinks) {
  fs::create_directories(from() / "sub");
  write(from() / "file", "text");
  fs::create_hard_link(from() / "file", from() / "sub/twin");
  fs::create_hard_link(from() / "file", from() / "third");
  fs::create_symlink("/etc", from() / "link");
  fs::create_hard_link(from() / "link", from() / "sub/link");
  ASSERT_EQ(::lchown((from() / "link").c_str(), 33, 34), 0);
  set_time(from() / "link", 1'000'000'000, 5);

  const auto copied = copy();

  ASSERT_TRUE(copied) << copied.error().message;
  EXPECT_EQ(status_of(to() / "file").st_nlink, 3u);
  EXPECT_EQ(status_of(to() / "file").st_ino, status_of(to() / "sub/twin").st_ino);
  EXPECT_EQ(fs::read_symlink(to() / "link"), "/etc");
  EXPECT_EQ(status_of(to() / "link").st_uid, 33u);
  EXPECT_EQ(status_of(to() / "link").st_mtim.tv_nsec, 5);
  EXPECT_EQ(status_of(to() / "link").st_ino, status_of(to() / "sub/link").st_ino);
  EXPECT_FALSE(fs::exists(directory_ / "to.links"));
}

TEST_F(CopyTreeTest, CopiesFifosAndDevicesButNoSockets) {
  ASSERT_EQ(::mkfifo((from() / "fifo").c_str(), 0620), 0);
  if (::mknod((from() / "null").c_str(), S_IFCHR | 0666, makedev(1, 3)) != 0)
    GTEST_SKIP() << "devices cannot be made here";
  ::chmod((from() / "fifo").c_str(), 0620);
  ::chmod((from() / "null").c_str(), 0666);
  ASSERT_EQ(::mknod((from() / "socket").c_str(), S_IFSOCK | 0600, 0), 0);

  const auto copied = copy();

  ASSERT_TRUE(copied) << copied.error().message;
  EXPECT_FALSE(copied->has_contents);
  EXPECT_EQ(status_of(to() / "fifo").st_mode, static_cast<mode_t>(S_IFIFO | 0620));
  EXPECT_EQ(status_of(to() / "null").st_mode, static_cast<mode_t>(S_IFCHR | 0666));
  EXPECT_EQ(status_of(to() / "null").st_rdev, makedev(1, 3));
  EXPECT_FALSE(fs::exists(fs::symlink_status(to() / "socket")));
}

TEST_F(CopyTreeTest, KeepsExtendedAttributesAndCapabilities) {
  write(from() / "file", "");
  const std::array<std::uint32_t, 5> capability = {VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE,
                                                   1u << CAP_NET_RAW, 0, 0, 0};
  if (::setxattr((from() / "file").c_str(), "security.capability", capability.data(),
                 sizeof capability, 0) != 0)
    GTEST_SKIP() << "capabilities cannot be set here";
  const bool has_user = ::setxattr(from().c_str(), "user.color", "red", 3, 0) == 0;

  ASSERT_TRUE(copy());

  std::array<char, 64> value{};
  EXPECT_EQ(::getxattr((to() / "file").c_str(), "security.capability", value.data(), value.size()),
            static_cast<ssize_t>(sizeof capability));
  if (has_user) {
    EXPECT_EQ(::getxattr(to().c_str(), "user.color", value.data(), value.size()), 3);
  }
}

TEST_F(CopyTreeTest, KeepsHoles) {
  constexpr off_t kSize = 64 << 20;
  {
    const base::UniqueFd file(open((from() / "sparse").c_str(), O_WRONLY | O_CREAT, 0644));
    ASSERT_EQ(::pwrite(file.get(), "end", 3, kSize / 2), 3);
    ASSERT_EQ(::ftruncate(file.get(), kSize), 0);
  }

  ASSERT_TRUE(copy());

  EXPECT_EQ(status_of(to() / "sparse").st_size, kSize);
  EXPECT_LE(status_of(to() / "sparse").st_blocks, 4096);  // 2 MiB
  EXPECT_EQ(read(to() / "sparse").substr(kSize / 2, 4), std::string("end\0", 4));
}

TEST_F(CopyTreeTest, CopiesNamesOfAnyBytes) {
  const std::string name = "\n\xff\x01 ..";
  write(from() / name, "text");

  ASSERT_TRUE(copy());

  EXPECT_EQ(read(to() / name), "text");
}

TEST_F(CopyTreeTest, ReplacesWhatAnEarlierAttemptLeft) {
  fs::create_directories(to() / "old/deep");
  write(to() / "old/deep/file", "old");
  fs::create_directories(directory_ / "to.links");
  write(directory_ / "to.links/1-1", "old");
  write(from() / "new", "new");

  ASSERT_TRUE(copy());

  EXPECT_FALSE(fs::exists(to() / "old"));
  EXPECT_FALSE(fs::exists(directory_ / "to.links"));
  EXPECT_EQ(read(to() / "new"), "new");
}

TEST_F(CopyTreeTest, RefusesATreeThatIsTooDeep) {
  make_deep(from(), 1'000);

  const auto copied = copy();

  ASSERT_FALSE(copied);
  EXPECT_EQ(copied.error().code, base::Code::kResourceExhausted);
  EXPECT_EQ(copied.error().message, "d: nested too deeply");
  EXPECT_FALSE(fs::exists(to()));
}

TEST_F(CopyTreeTest, FillsADirectoryThatIsThere) {
  const fs::path to = directory_ / "to";
  fs::create_directories(directory_ / "from/sub");
  write(directory_ / "from/sub/file", "text");
  write(directory_ / "from/.hidden", "more");
  fs::create_hard_link(directory_ / "from/.hidden", directory_ / "from/linked");
  ASSERT_EQ(::chmod((directory_ / "from").c_str(), 01751), 0);
  fs::create_directories(to / (std::string(kFillingPrefix) + "left"));
  const base::UniqueFd directory(open(to.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  const auto number = status_of(to).st_ino;

  const auto filled = fill_directory(from_.get(), directory.get());

  ASSERT_TRUE(filled) << filled.error().message;
  EXPECT_EQ(status_of(to).st_ino, number);
  EXPECT_EQ(status_of(to).st_mode & 07777u, 01751u);
  EXPECT_EQ(read(to / "sub/file"), "text");
  EXPECT_EQ(status_of(to / ".hidden").st_ino, status_of(to / "linked").st_ino);
  // The copy is gone, but for what another machine may be at.
  EXPECT_EQ(std::distance(fs::directory_iterator(to), fs::directory_iterator()), 4);
}

TEST_F(CopyTreeTest, FillsNoDirectoryThatHasSomething) {
  const fs::path to = directory_ / "to";
  write(directory_ / "from/file", "new");
  fs::create_directories(to);
  write(to / "own", "old");
  const base::UniqueFd directory(open(to.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));

  EXPECT_TRUE(fill_directory(from_.get(), directory.get()));

  EXPECT_FALSE(fs::exists(to / "file"));
  EXPECT_EQ(read(to / "own"), "old");
}

TEST_F(CopyTreeTest, RemovesTreesOfAnyDepthAndWhatLinksLeadToStays) {
  for (const char* name : {"0", "a"}) {
    fs::create_directories(to() / name);
    make_deep(to() / name, 1'100);
  }
  fs::create_symlink(from(), to() / "a/link");
  write(from() / "file", "kept");

  const auto removed = remove_tree(parent_.get(), "to");

  ASSERT_TRUE(removed) << removed.error().message;
  EXPECT_FALSE(fs::exists(to()));
  EXPECT_EQ(read(from() / "file"), "kept");
  EXPECT_TRUE(remove_tree(parent_.get(), "to"));
}

}  // namespace
}  // namespace guest_init
