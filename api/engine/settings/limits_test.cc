#include "api/engine/settings/limits.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <string>

#include "api/engine/settings/settings.h"

namespace engine {
namespace {

using nlohmann::json;

/// A HostConfig that says nothing but `changes`.
json host_config(const json& changes) {
  json host = *take_fields(host_config_fields(), json::object(), "");
  host.update(changes);
  return host;
}

/// The limits of a HostConfig that can be read.
Limits limits_of(const json& changes) {
  auto limits = parse_limits(host_config(changes));
  EXPECT_TRUE(limits) << limits.error().message;
  return limits ? *std::move(limits) : Limits();
}

std::string refusal(const json& changes) {
  const auto limits = parse_limits(host_config(changes));
  return limits ? "" : limits.error().message;
}

/// A directory as the containers' storage, with nodes of block devices in it.
class LimitsTest : public testing::Test {
 protected:
  LimitsTest() {
    char name[] = "/tmp/containervm-block-XXXXXX";
    directory_ = ::mkdtemp(name);
    struct stat status {};
    ::stat(directory_.c_str(), &status);
    storage_device_ = status.st_dev;
  }
  ~LimitsTest() override { std::filesystem::remove_all(directory_); }

  json device(const std::string& name, dev_t number, const char* key, std::uint64_t value) {
    const std::string path = directory_ / name;
    if (::mknod(path.c_str(), S_IFBLK | 0600, number) != 0 && errno != EEXIST) return {};
    return {{"Path", path}, {key, value}};
  }

  json host_;
  std::filesystem::path directory_;
  dev_t storage_device_ = 0;
};

TEST_F(LimitsTest, TakesTheRatesOfTheDeviceThatHoldsTheFiles) {
  json own = device("own", storage_device_, "Rate", 1000);
  if (own.is_null()) GTEST_SKIP() << "device nodes cannot be made here";
  host_["BlkioDeviceWriteBps"] = json::array({device("other", makedev(259, 9999), "Rate", 7), own});
  host_["BlkioDeviceReadIOps"] = json::array({device("other", makedev(259, 9999), "Rate", 7)});

  const auto kept = limits_for(limits_of(host_), directory_);

  ASSERT_TRUE(kept) << kept.error().message;
  EXPECT_EQ(kept->write_bytes, 1000u);
  EXPECT_EQ(kept->read_operations, 0u);
  EXPECT_EQ(kept->read_bytes, 0u);
}

TEST_F(LimitsTest, RefusesWhatIsNoBlockDevice) {
  for (const char* path : {"/dev/null", "/no/such/device"}) {
    host_["BlkioDeviceReadBps"] = json::array({{{"Path", path}, {"Rate", 1}}});

    const auto kept = limits_for(limits_of(host_), directory_);

    ASSERT_FALSE(kept);
    EXPECT_FALSE(check_devices(limits_of(host_)));
    EXPECT_EQ(kept.error().code, base::Code::kInvalidArgument);
    EXPECT_NE(kept.error().message.find(path), std::string::npos);
  }
}

TEST_F(LimitsTest, RefusesValuesOfTheWrongForm) {
  const auto with = [&](const char* field, const json& value) {
    return parse_limits(host_config({{field, value}})).has_value();
  };
  EXPECT_TRUE(with("BlkioWeight", 10));
  EXPECT_FALSE(with("BlkioWeight", 9));
  EXPECT_FALSE(with("BlkioWeight", 1001));
  EXPECT_FALSE(with("BlkioWeight", -1));
  EXPECT_TRUE(with("BlkioWeightDevice", {{{"Path", "/dev/x"}, {"Weight", 1000}}}));
  EXPECT_FALSE(with("BlkioWeightDevice", {{{"Path", "/dev/x"}, {"Weight", 5}}}));
  EXPECT_FALSE(with("BlkioWeightDevice", {{{"Path", "/dev/x"}}}));
  EXPECT_FALSE(with("BlkioDeviceReadBps", {{{"Path", 1}, {"Rate", 1}}}));
  EXPECT_FALSE(with("BlkioDeviceReadBps", {{{"Path", "/dev/x"}, {"Rate", -1}}}));
  EXPECT_FALSE(with("BlkioDeviceReadBps", {{{"Path", "/dev/x"}, {"Rate", "1"}}}));
  EXPECT_FALSE(with("BlkioDeviceReadBps", {{{"Path", "/dev/x"}, {"Rate", 1}, {"Weight", 1}}}));
  EXPECT_FALSE(with("BlkioDeviceReadBps", {"/dev/x"}));
}

TEST_F(LimitsTest, NamesTheWeightsOfDevices) {
  const json own = device("own", makedev(8, 16), "Weight", 300);
  if (own.is_null()) GTEST_SKIP() << "device nodes cannot be made here";
  host_["CpuShares"] = 512;
  host_["BlkioWeight"] = 100;
  host_["BlkioWeightDevice"] = json::array({own});

  const auto weights = group_weights_for(limits_of(host_));

  ASSERT_TRUE(weights);
  EXPECT_EQ(weights->cpu_shares, 512u);
  EXPECT_EQ(weights->block_io, 100u);
  ASSERT_EQ(weights->block_io_of.size(), 1u);
  EXPECT_EQ(weights->block_io_of[0], (std::pair<std::string, std::uint32_t>("8:16", 300)));
}

TEST(Limits, AreReadAsTheGuestKeepsThem) {
  const Limits limits = limits_of({{"Memory", 64 << 20},
                                   {"MemorySwap", -1},
                                   {"MemoryReservation", 32 << 20},
                                   {"CpuQuota", 50'000},
                                   {"CpuPeriod", 20'000},
                                   {"CpuShares", 512},
                                   {"CpusetCpus", "0"},
                                   {"PidsLimit", 10}});

  EXPECT_EQ(limits.guest.memory_bytes, 64u << 20);
  EXPECT_EQ(limits.guest.memory_swap_bytes, -1);
  EXPECT_EQ(limits.guest.memory_low_bytes, 32u << 20);
  EXPECT_EQ(limits.guest.cpu_quota_us, 50'000u);
  EXPECT_EQ(limits.guest.cpu_period_us, 20'000u);
  EXPECT_EQ(limits.guest.cpu_shares, 512u);
  EXPECT_EQ(limits.guest.cpuset, "0");
  EXPECT_EQ(limits.guest.pids, 10u);
}

TEST(Limits, ThatNobodyAskedForAreNone) {
  const Limits limits = limits_of(json::object());

  EXPECT_EQ(limits.guest.memory_bytes, 0u);
  EXPECT_EQ(limits.guest.cpu_quota_us, 0u);
  EXPECT_EQ(limits.guest.pids, 0u);
  EXPECT_EQ(limits.nano_cpus, 0);
  EXPECT_EQ(limits_of({{"PidsLimit", -1}}).guest.pids, 0u);
  EXPECT_EQ(limits_of({{"CpuQuota", -1}}).guest.cpu_quota_us, 0u);
}

TEST(Limits, OfCpusAreAQuotaOfTheUsualPeriod) {
  const Limits limits = limits_of({{"NanoCpus", 500'000'000}});

  EXPECT_EQ(limits.nano_cpus, 500'000'000);
  EXPECT_EQ(limits.guest.cpu_quota_us, 50'000u);
  EXPECT_EQ(limits.guest.cpu_period_us, 100'000u);
}

TEST(Limits, AreRefusedInDockersWords) {
  EXPECT_EQ(refusal({{"Memory", 1}}), "Minimum memory limit allowed is 6MB");
  EXPECT_EQ(refusal({{"Memory", 8 << 20}, {"MemorySwap", 7 << 20}}),
            "Minimum memoryswap limit should be larger than memory limit, see usage");
  EXPECT_EQ(refusal({{"Memory", 8 << 20}, {"MemoryReservation", 9 << 20}}),
            "Minimum memory limit can not be less than memory reservation limit, see usage");
  EXPECT_EQ(refusal({{"NanoCpus", 1}, {"CpuQuota", 5000}}),
            "Conflicting options: Nano CPUs and CPU Quota cannot both be set");
  EXPECT_EQ(refusal({{"CpuShares", -1}}), "CPU shares can not be less than 0");
  EXPECT_EQ(refusal({{"CpusetCpus", "a"}}), "Invalid value a for cpuset cpus: invalid format: a");
  EXPECT_EQ(refusal({{"MemorySwappiness", 10}}),
            "HostConfig.MemorySwappiness is not supported: cgroup v2 has no such knob");
}

TEST(Limits, NameCpusThatTheMachineHas) {
  const Limits limits = limits_of({{"CpusetCpus", "0-2"}});

  const auto refused = check_cpuset(limits, 2);

  EXPECT_TRUE(check_cpuset(limits, 3));
  EXPECT_TRUE(check_cpuset(Limits(), 1));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message,
            "Requested CPUs are not available - requested 0-2, available: 0-1");
}

TEST(Limits, OfTheDiskAreWholeMegabytes) {
  const auto disk = [](const char* size) {
    return limits_of({{"StorageOpt", {{"size", size}}}}).disk_bytes;
  };

  EXPECT_EQ(limits_of(json::object()).disk_bytes, 0u);
  EXPECT_EQ(disk("10g"), std::uint64_t{10} << 30);
  EXPECT_EQ(disk("1"), 1u << 20);
  EXPECT_EQ(refusal({{"StorageOpt", {{"size", "much"}}}}), "invalid size: 'much'");
  EXPECT_EQ(refusal({{"StorageOpt", {{"inodes", "1"}}}}),
            "storage option \"inodes\" is not supported");
}

TEST(HighestCpu, ReadsListsAndRanges) {
  EXPECT_EQ(highest_cpu("0"), 0u);
  EXPECT_EQ(highest_cpu("0-2,5,3"), 5u);
  EXPECT_EQ(highest_cpu("1,4-7"), 7u);
  for (const char* bad : {"", "x", "1-", "-1", "3-2", "1,,2", "1-2-3", "99999999999", "1,", "0 1"})
    EXPECT_EQ(highest_cpu(bad), std::nullopt) << bad;
}

}  // namespace
}  // namespace engine
