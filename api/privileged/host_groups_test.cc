// HostGroups on a directory that has the files of cgroups, but moves and kills nobody.
#include "api/privileged/host_groups.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>
#include <optional>
#include <sstream>

namespace engine {
namespace {

namespace fs = std::filesystem;

class HostGroupsTest : public testing::Test {
 protected:
  HostGroupsTest() {
    make_group(mount_, {"cgroup.procs"});
    make_group(before_, {"cgroup.procs"});
    make_group(root_, {"memory.min"});
    make_group(root_ / "daemon", {"memory.min", "cgroup.procs"});
  }
  ~HostGroupsTest() override { fs::remove_all(mount_); }

  static fs::path make_directory() {
    char name[] = "/tmp/containervm-groups-XXXXXX";
    return ::mkdtemp(name);
  }

  static void make_group(const fs::path& group, std::initializer_list<const char*> files) {
    fs::create_directories(group);
    for (const char* file : files) std::ofstream(group / file).flush();
  }

  static std::string text_of(const fs::path& file) {
    std::ostringstream text;
    text << std::ifstream(file).rdbuf();
    return text.str();
  }

  std::optional<HostGroups> enter(const fs::path& before) {
    auto groups = HostGroups::enter(root_, before);
    EXPECT_TRUE(groups) << groups.error().message;
    if (!groups) return std::nullopt;
    return *std::move(groups);
  }

  const fs::path mount_ = make_directory();
  const fs::path before_ = mount_ / "service";
  const fs::path root_ = mount_ / "containervm-0123ab";
};

TEST_F(HostGroupsTest, MovesTheDaemonIntoItsGroupAndProtectsIt) {
  const auto groups = enter(before_);

  ASSERT_TRUE(groups);
  EXPECT_EQ(groups->root(), root_);
  EXPECT_EQ(text_of(root_ / "daemon/cgroup.procs"), "0");
  EXPECT_EQ(text_of(root_ / "daemon/memory.min"), "67108864");
  EXPECT_EQ(text_of(root_ / "memory.min"), "67108864");
  EXPECT_EQ(text_of(before_ / "cgroup.procs"), "");
}

TEST_F(HostGroupsTest, EndsWhatIsLeftOfLayerToolsAndLeavesMachinesAlone) {
  make_group(root_ / "layer-7", {"cgroup.kill"});
  make_group(root_ / "machine-7", {"cgroup.kill"});

  const auto groups = enter(before_);

  EXPECT_EQ(text_of(root_ / "layer-7/cgroup.kill"), "1");
  EXPECT_EQ(text_of(root_ / "machine-7/cgroup.kill"), "");
}

TEST_F(HostGroupsTest, MovesTheDaemonBackAtTheEnd) {
  auto groups = enter(before_);

  groups.reset();

  EXPECT_EQ(text_of(before_ / "cgroup.procs"), "0");
  EXPECT_EQ(text_of(mount_ / "cgroup.procs"), "");
}

TEST_F(HostGroupsTest, MovesTheDaemonToTheTopIfItsFirstGroupIsGone) {
  auto groups = enter(before_);
  fs::remove_all(before_);

  groups.reset();

  EXPECT_EQ(text_of(mount_ / "cgroup.procs"), "0");
}

TEST_F(HostGroupsTest, ADaemonThatWasStartedInItsOwnGroupLeavesItAtTheEnd) {
  auto groups = enter(root_ / "daemon");

  groups.reset();

  EXPECT_EQ(text_of(mount_ / "cgroup.procs"), "0");
}

TEST_F(HostGroupsTest, OnlyTheLastOwnerMovesTheDaemonBack) {
  auto groups = enter(before_);
  ASSERT_TRUE(groups);

  {
    HostGroups owner = *std::move(groups);
    groups.reset();
    EXPECT_EQ(text_of(before_ / "cgroup.procs"), "");
  }

  EXPECT_EQ(text_of(before_ / "cgroup.procs"), "0");
}

TEST_F(HostGroupsTest, WithoutProtectionTheDaemonStaysWhereItIs) {
  fs::remove(root_ / "memory.min");

  const auto groups = HostGroups::enter(root_, before_);

  EXPECT_FALSE(groups);
  EXPECT_EQ(text_of(root_ / "daemon/cgroup.procs"), "");
}

TEST(HostTag, TellsStateDirectoriesApart) {
  EXPECT_EQ(host_tag("/var/lib/containervm").size(), 6u);
  EXPECT_EQ(host_tag("/var/lib/containervm"), host_tag("/var/lib/containervm"));
  EXPECT_NE(host_tag("/var/lib/containervm"), host_tag("/var/lib/containervm2"));
}

}  // namespace
}  // namespace engine
