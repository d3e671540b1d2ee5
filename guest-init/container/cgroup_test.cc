#include "guest-init/container/cgroup.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "guest-init/protocol/cpu_weight.h"

namespace guest_init {
namespace {

using Settings = std::vector<CgroupSetting>;

TEST(CpuWeight, CoversDockersRange) {
  EXPECT_EQ(protocol::cpu_weight_of_shares(2), 1u);
  EXPECT_EQ(protocol::cpu_weight_of_shares(512), 59u);
  EXPECT_EQ(protocol::cpu_weight_of_shares(1024), 100u);
  EXPECT_EQ(protocol::cpu_weight_of_shares(262144), 10000u);
}

TEST(CpuWeight, ClampsWhatIsOutOfRange) {
  EXPECT_EQ(protocol::cpu_weight_of_shares(0), 1u);
  EXPECT_EQ(protocol::cpu_weight_of_shares(~std::uint64_t{0}), 10000u);
}

TEST(SwapMax, IsWhatMemorySwapExceedsMemory) {
  EXPECT_EQ(swap_max(100, 0), std::nullopt);
  EXPECT_EQ(swap_max(100, -1), "max");
  EXPECT_EQ(swap_max(100, 100), "0");
  EXPECT_EQ(swap_max(100, 250), "150");
  EXPECT_EQ(swap_max(100, 50), "0");
}

TEST(CgroupSettings, AreNoneWithoutLimits) { EXPECT_TRUE(settings_of({}).empty()); }

TEST(CgroupSettings, HoldEveryLimit) {
  protocol::PrepareContainer::Limits limits;
  limits.memory_bytes = 64u << 20;
  limits.memory_swap_bytes = 128 << 20;
  limits.memory_low_bytes = 1u << 20;
  limits.cpu_quota_us = 50000;
  limits.cpu_shares = 512;
  limits.cpuset = "0-1";
  limits.pids = 100;

  EXPECT_EQ(settings_of(limits), (Settings{{"memory.max", "67108864"},
                                           {"memory.swap.max", "67108864"},
                                           {"memory.low", "1048576"},
                                           {"cpu.max", "50000 100000"},
                                           {"cpu.weight", "59"},
                                           {"cpuset.cpus", "0-1"},
                                           {"pids.max", "100"}}));
}

TEST(CgroupSettings, LiftWhatIsNotLimitedWhenTheyReplaceOthers) {
  protocol::PrepareContainer::Limits limits;
  limits.memory_bytes = 64u << 20;
  limits.pids = 7;

  EXPECT_EQ(all_settings_of(limits), (Settings{{"memory.max", "67108864"},
                                               {"memory.swap.max", "max"},
                                               {"memory.low", "0"},
                                               {"cpu.max", "max"},
                                               {"cpu.weight", "100"},
                                               {"cpuset.cpus", ""},
                                               {"pids.max", "7"}}));
}

TEST(CgroupSettings, NameEveryRateOfADisk) {
  protocol::PrepareContainer::Limits limits;
  EXPECT_FALSE(limits_disks(limits));
  limits.write_bytes = 1u << 20;
  limits.read_operations = 50;

  EXPECT_TRUE(limits_disks(limits));
  EXPECT_EQ(io_max("254:16", limits), "254:16 rbps=max wbps=1048576 riops=50 wiops=max");
}

TEST(Cgroup, IsRemovedWithAllThatWasMadeBelow) {
  char parent[] = "/tmp/cgroup-test-XXXXXX";
  ASSERT_NE(mkdtemp(parent), nullptr);
  auto cgroup = Cgroup::create(parent, "container1");
  ASSERT_TRUE(cgroup);
  std::string deep = cgroup->path() + "/.hidden";
  for (int depth = 0; depth < 100; ++depth, deep += "/deep")
    ASSERT_EQ(mkdir(deep.c_str(), 0755), 0);
  for (const char* name : {"/a", "/a/b", "/a/c", "/d"})
    ASSERT_EQ(mkdir((cgroup->path() + name).c_str(), 0755), 0);

  const auto removed = cgroup->remove();

  EXPECT_TRUE(removed) << removed.error().message;
  EXPECT_NE(access(cgroup->path().c_str(), F_OK), 0);
  EXPECT_EQ(rmdir(parent), 0);
}

TEST(PlaceBelow, IsWhereAProcessWentInItsContainersCgroup) {
  EXPECT_EQ(place_below("0::/container1\n", "container1"), ".");
  EXPECT_EQ(place_below("0::/container1/init\n", "container1"), "init");
  EXPECT_EQ(place_below("1:name=x:/y\n0::/test/container1/a/b\n", "container1"), "a/b");
  EXPECT_EQ(place_below("0::/container1/container1/c\n", "container1"), "container1/c");
}

TEST(PlaceBelow, IsNothingElsewhere) {
  EXPECT_EQ(place_below("0::/container12/init\n", "container1"), std::nullopt);
  EXPECT_EQ(place_below("0::/\n", "container1"), std::nullopt);
  EXPECT_EQ(place_below("1:memory:/container1\n", "container1"), std::nullopt);
  EXPECT_EQ(place_below("", "container1"), std::nullopt);
}

TEST(FlatKeyedValue, IsTheWholeKeys) {
  const char* text = "low 1\noom 2\noom_kill 3\noom_group_kill 4";

  EXPECT_EQ(flat_keyed_value(text, "oom_kill"), 3u);
  EXPECT_EQ(flat_keyed_value(text, "oom"), 2u);
  EXPECT_EQ(flat_keyed_value(text, "oom_group_kill"), 4u);
  EXPECT_EQ(flat_keyed_value(text, "high"), 0u);
  EXPECT_EQ(flat_keyed_value("", "oom"), 0u);
  EXPECT_EQ(flat_keyed_value("oom\noom x\n", "oom"), 0u);
}

}  // namespace
}  // namespace guest_init
