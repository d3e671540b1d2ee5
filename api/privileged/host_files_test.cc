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
  /// A socket at which somebody listens.
  base::UniqueFd listening(const std::string& name, int type = SOCK_STREAM) const {
    base::UniqueFd socket(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string place = path(name);
    place.copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(socket.get(), 4), 0);
    return socket;
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

TEST_F(HostFilesTest, OnlyFilesDirectoriesAndSockets) {
  ASSERT_EQ(::mkfifo(path("pipe").c_str(), 0600), 0);
  EXPECT_EQ(host_files::check(path("pipe"), {}).error().code, Code::kNotSupported);
  EXPECT_THAT(host_files::check("/dev/null", {}).error().message, HasSubstr("is a device"));
  EXPECT_TRUE(host_files::check(path("tree/file"), {}));
}

TEST_F(HostFilesTest, ADaemonMayAllowSomeDirectoriesOnly) {
  const host_files::Access allowed{.directories = {path("tree"), path("absent")}};

  EXPECT_TRUE(host_files::check(path("tree"), allowed));
  EXPECT_TRUE(host_files::check(path("tree/file"), allowed));
  for (const char* name : {"outside", "tree/out", "tree/../outside", "tree2", ""}) {
    fs::create_directories(directory_ / "tree2");
    EXPECT_EQ(host_files::check(path(name), allowed).error().code, Code::kPermissionDenied) << name;
  }
  EXPECT_FALSE(host_files::open({.path = path("beside/new"), .create = true}, allowed));
  EXPECT_FALSE(fs::exists(directory_ / "beside"));
}

TEST_F(HostFilesTest, ASocketIsDescribedAndConnectedTo) {
  const base::UniqueFd server = listening("socket");
  ASSERT_EQ(::chmod(path("socket").c_str(), 0640), 0);

  const auto file = host_files::check(path("socket"), {});
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(*file,
            (HostFile{.is_socket = true, .mode = 0640, .user = ::getuid(), .group = ::getgid()}));
  EXPECT_FALSE(host_files::check(path("tree/file"), {})->is_socket);
  EXPECT_FALSE(host_files::check(path("tree/file"), {})->is_directory);
  EXPECT_TRUE(host_files::check(path("tree"), {})->is_directory);
  EXPECT_EQ(host_files::open({.path = path("socket")}, {}).error().code, Code::kNotSupported);

  const auto connection = host_files::connect(path("socket"), {});
  ASSERT_TRUE(connection) << connection.error().message;
  const base::UniqueFd accepted(::accept(server.get(), nullptr, nullptr));
  ASSERT_EQ(::send(accepted.get(), "hello", 5, 0), 5);
  char buffer[8];
  EXPECT_EQ(::recv(connection->get(), buffer, sizeof buffer, 0), 5);
}

TEST_F(HostFilesTest, WhereNobodyListensNobodyIsConnected) {
  listening("gone");
  listening("packets", SOCK_SEQPACKET);
  const base::UniqueFd packets = listening("packets2", SOCK_SEQPACKET);
  for (const char* name : {"gone", "packets", "packets2", "tree/file", "tree"})
    EXPECT_EQ(host_files::connect(path(name), {}).error().code, Code::kUnavailable) << name;
  EXPECT_EQ(host_files::connect(path("missing"), {}).error().code, Code::kNotFound);
}

TEST_F(HostFilesTest, OneThatTakesNobodyMoreIsNotWaitedFor) {
  const base::UniqueFd server = listening("busy");
  std::vector<base::UniqueFd> waiting;
  for (int i = 0; i < 64; ++i) {
    auto connection = host_files::connect(path("busy"), {});
    if (!connection) {
      EXPECT_EQ(connection.error().code, Code::kUnavailable);
      return;
    }
    waiting.push_back(*std::move(connection));
  }
  FAIL() << "the queue of the socket has no end";
}

TEST_F(HostFilesTest, DockersSocketIsTheDaemonsOwn) {
  const base::UniqueFd server = listening("own");
  const host_files::Access access{.directories = {}, .own_socket = path("own")};

  for (const char* name : {"/var/run/docker.sock", "/run/docker.sock", "/run//./docker.sock"}) {
    const auto file = host_files::check(name, access);
    ASSERT_TRUE(file) << name << ": " << file.error().message;
    EXPECT_TRUE(file->is_socket);
    EXPECT_TRUE(host_files::connect(name, access)) << name;
  }
  const host_files::Access named{
      .directories = {}, .own_socket = path("own"), .own_names = {path("called/so")}};
  EXPECT_TRUE(host_files::connect(path("called/so"), named));
  EXPECT_FALSE(host_files::connect("/nowhere/docker.sock", named));
  // What gives a container the daemon is no exception from the rule about places.
  const host_files::Access kept{.directories = {path("tree")}, .own_socket = path("own")};
  EXPECT_EQ(host_files::connect("/run/docker.sock", kept).error().code, Code::kPermissionDenied);
  const host_files::Access run{.directories = {"/run"}, .own_socket = path("own")};
  EXPECT_TRUE(host_files::connect("/run/docker.sock", run));
}

TEST_F(HostFilesTest, ASocketOutsideOfTheAllowedPlacesIsRefused) {
  const base::UniqueFd server = listening("socket");
  const host_files::Access allowed{.directories = {path("tree")}};
  EXPECT_EQ(host_files::check(path("socket"), allowed).error().code, Code::kPermissionDenied);
  fs::create_symlink(directory_ / "socket", directory_ / "tree/socket");
  EXPECT_EQ(host_files::connect(path("tree/socket"), allowed).error().code,
            Code::kPermissionDenied);
}

}  // namespace
}  // namespace engine
