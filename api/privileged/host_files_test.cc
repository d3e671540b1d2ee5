#include "api/privileged/host_files.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

namespace engine {
namespace {

using base::Code;
using testing::HasSubstr;
namespace fs = std::filesystem;

class HostFilesTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/host-files-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    directory_ = fs::canonical(name);
    fs::create_directories(directory_ / "tree/below");
    std::ofstream(directory_ / "tree/file") << "inside";
    std::ofstream(directory_ / "outside") << "outside";
    fs::create_symlink(directory_ / "outside", directory_ / "tree/out");
  }
  void TearDown() override { fs::remove_all(directory_); }

  std::string path(const std::string& name) const { return directory_ / name; }
  static base::UniqueFd open_in(const base::UniqueFd& tree, const char* name, int flags) {
    return base::UniqueFd(::openat(tree.get(), name, flags | O_CLOEXEC));
  }
  static base::UniqueFd opened(HostTree wanted) {
    auto tree = host_files::open(wanted, {});
    if (!tree && tree.error().code == Code::kPermissionDenied) return {};
    EXPECT_TRUE(tree) << tree.error().message;
    return tree ? *std::move(tree) : base::UniqueFd();
  }

  fs::path directory_;
};

#define TREE_OR_SKIP(name, ...)                      \
  const base::UniqueFd name = opened({__VA_ARGS__}); \
  if (!(name)) GTEST_SKIP() << "this user cannot make mounts here"

TEST_F(HostFilesTest, NothingAboveATreeCanBeNamed) {
  TREE_OR_SKIP(tree, .path = path("tree"));

  EXPECT_TRUE(open_in(tree, "file", O_RDONLY));
  EXPECT_FALSE(open_in(tree, "../outside", O_RDONLY));
  EXPECT_FALSE(open_in(tree, "below/../../outside", O_RDONLY));
  EXPECT_FALSE(open_in(tree, "out", O_RDONLY));
  EXPECT_EQ(errno, ELOOP);
}

TEST_F(HostFilesTest, ATreeMayBeReadOnly) {
  TREE_OR_SKIP(read_only, .path = path("tree"), .read_only = true);
  TREE_OR_SKIP(writable, .path = path("tree"));

  EXPECT_FALSE(open_in(read_only, "file", O_RDWR));
  EXPECT_EQ(errno, EROFS);
  EXPECT_TRUE(open_in(writable, "file", O_RDWR));
}

TEST_F(HostFilesTest, DevicesInATreeAreNotOpened) {
  if (::mknod(path("tree/null").c_str(), S_IFCHR | 0666, makedev(1, 3)) != 0)
    GTEST_SKIP() << "this user cannot make devices";
  TREE_OR_SKIP(tree, .path = path("tree"));

  EXPECT_FALSE(open_in(tree, "null", O_RDONLY));
  EXPECT_EQ(errno, EACCES);
}

TEST_F(HostFilesTest, WhatIsMountedBelowIsThereUnlessItIsNotWanted) {
  if (::mount("tmpfs", path("tree/below").c_str(), "tmpfs", 0, nullptr) != 0)
    GTEST_SKIP() << "this user cannot mount";
  std::ofstream(directory_ / "tree/below/mounted") << "x";
  {
    TREE_OR_SKIP(all, .path = path("tree"));
    TREE_OR_SKIP(own, .path = path("tree"), .mounts_below = false);
    TREE_OR_SKIP(read_only, .path = path("tree"), .read_only = true);
    TREE_OR_SKIP(above, .path = path("tree"), .read_only = true, .read_only_below = false);

    EXPECT_TRUE(open_in(all, "below/mounted", O_RDWR));
    EXPECT_FALSE(open_in(own, "below/mounted", O_RDONLY));
    EXPECT_FALSE(open_in(read_only, "below/mounted", O_RDWR));
    EXPECT_TRUE(open_in(above, "below/mounted", O_RDWR));
    EXPECT_FALSE(open_in(above, "file", O_RDWR));
  }
  ::umount2(path("tree/below").c_str(), MNT_DETACH);
}

TEST_F(HostFilesTest, AFileIsATreeToo) {
  TREE_OR_SKIP(file, .path = path("tree/file"));
  struct stat status {};
  ASSERT_EQ(::fstat(file.get(), &status), 0);
  EXPECT_TRUE(S_ISREG(status.st_mode));
}

TEST_F(HostFilesTest, TheClientsSymbolicLinksAreFollowed) {
  fs::create_directory_symlink(directory_ / "tree", directory_ / "link");
  TREE_OR_SKIP(tree, .path = path("link"));
  EXPECT_TRUE(open_in(tree, "file", O_RDONLY));
}

TEST_F(HostFilesTest, WhatIsMissingIsMadeIfItIsWanted) {
  const auto missing = host_files::open({.path = path("new/place")}, {});
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Code::kNotFound);
  EXPECT_EQ(missing.error().message, "bind source path does not exist: " + path("new/place"));
  EXPECT_FALSE(fs::exists(directory_ / "new"));

  TREE_OR_SKIP(tree, .path = path("new/place"), .create = true);
  EXPECT_TRUE(fs::is_directory(directory_ / "new/place"));
}

TEST_F(HostFilesTest, WhatCannotBeMadeIsSaid) {
  const auto made = host_files::open({.path = path("outside/below"), .create = true}, {});
  ASSERT_FALSE(made);
  EXPECT_THAT(made.error().message, HasSubstr("error while creating mount source path"));
}

TEST_F(HostFilesTest, NothingIsMadeBehindALinkThatLeadsNowhere) {
  fs::create_symlink(directory_ / "elsewhere", directory_ / "tree/dangling");
  EXPECT_FALSE(host_files::open({.path = path("tree/dangling/new"), .create = true}, {}));
  EXPECT_FALSE(fs::exists(directory_ / "elsewhere"));
}

TEST_F(HostFilesTest, OnlyFilesAndDirectories) {
  ASSERT_EQ(::mkfifo(path("pipe").c_str(), 0600), 0);
  EXPECT_EQ(host_files::check(path("pipe"), {}).error().code, Code::kNotSupported);
  EXPECT_THAT(host_files::check("/dev/null", {}).error().message, HasSubstr("is a device"));
  EXPECT_TRUE(host_files::check(path("tree/file"), {}));
}

TEST_F(HostFilesTest, ADaemonMayAllowSomeDirectoriesOnly) {
  const std::vector<std::string> allowed = {path("tree"), path("absent")};

  EXPECT_TRUE(host_files::check(path("tree"), allowed));
  EXPECT_TRUE(host_files::check(path("tree/file"), allowed));
  for (const char* name : {"outside", "tree/out", "tree/../outside", "tree2", ""}) {
    fs::create_directories(directory_ / "tree2");
    EXPECT_EQ(host_files::check(path(name), allowed).error().code, Code::kPermissionDenied) << name;
  }
  EXPECT_FALSE(host_files::open({.path = path("beside/new"), .create = true}, allowed));
  EXPECT_FALSE(fs::exists(directory_ / "beside"));
}

}  // namespace
}  // namespace engine
