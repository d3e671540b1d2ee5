#include "api/engine/settings/block_io.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <string>

namespace engine {
namespace {

using nlohmann::json;

json no_limits() {
  return {{"CpuShares", 0},
          {"BlkioWeight", 0},
          {"BlkioWeightDevice", json::array()},
          {"BlkioDeviceReadBps", json::array()},
          {"BlkioDeviceWriteBps", json::array()},
          {"BlkioDeviceReadIOps", json::array()},
          {"BlkioDeviceWriteIOps", json::array()}};
}

/// A directory as the containers' storage, with nodes of block devices in it.
class BlockIoTest : public testing::Test {
 protected:
  BlockIoTest() {
    char name[] = "/tmp/containervm-block-XXXXXX";
    directory_ = ::mkdtemp(name);
    struct stat status {};
    ::stat(directory_.c_str(), &status);
    storage_device_ = status.st_dev;
  }
  ~BlockIoTest() override { std::filesystem::remove_all(directory_); }

  json device(const std::string& name, dev_t number, const char* key, std::uint64_t value) {
    const std::string path = directory_ / name;
    if (::mknod(path.c_str(), S_IFBLK | 0600, number) != 0 && errno != EEXIST) return {};
    return {{"Path", path}, {key, value}};
  }

  json host_ = no_limits();
  std::filesystem::path directory_;
  dev_t storage_device_ = 0;
};

TEST_F(BlockIoTest, TakesTheRatesOfTheDeviceThatHoldsTheFiles) {
  json own = device("own", storage_device_, "Rate", 1000);
  if (own.is_null()) GTEST_SKIP() << "device nodes cannot be made here";
  host_["BlkioDeviceWriteBps"] = json::array({device("other", makedev(259, 9999), "Rate", 7), own});
  host_["BlkioDeviceReadIOps"] = json::array({device("other", makedev(259, 9999), "Rate", 7)});
  ASSERT_TRUE(check_block_io(host_));

  const auto rates = block_rates_for(host_, directory_);

  ASSERT_TRUE(rates) << rates.error().message;
  EXPECT_EQ(rates->write_bps, 1000u);
  EXPECT_EQ(rates->read_iops, 0u);
  EXPECT_EQ(rates->read_bps, 0u);
}

TEST_F(BlockIoTest, RefusesWhatIsNoBlockDevice) {
  for (const char* path : {"/dev/null", "/no/such/device"}) {
    host_["BlkioDeviceReadBps"] = json::array({{{"Path", path}, {"Rate", 1}}});

    const auto rates = block_rates_for(host_, directory_);

    ASSERT_FALSE(rates);
    EXPECT_EQ(rates.error().code, base::Code::kInvalidArgument);
    EXPECT_NE(rates.error().message.find(path), std::string::npos);
  }
}

TEST_F(BlockIoTest, RefusesValuesOfTheWrongForm) {
  const auto with = [&](const char* field, const json& value) {
    json host = no_limits();
    host[field] = value;
    return check_block_io(host).has_value();
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

TEST_F(BlockIoTest, NamesTheWeightsOfDevices) {
  const json own = device("own", makedev(8, 16), "Weight", 300);
  if (own.is_null()) GTEST_SKIP() << "device nodes cannot be made here";
  host_["CpuShares"] = 512;
  host_["BlkioWeight"] = 100;
  host_["BlkioWeightDevice"] = json::array({own});

  const auto weights = group_weights_for(host_);

  ASSERT_TRUE(weights);
  EXPECT_EQ(weights->cpu_shares, 512u);
  EXPECT_EQ(weights->block_io, 100u);
  ASSERT_EQ(weights->block_io_of.size(), 1u);
  EXPECT_EQ(weights->block_io_of[0], (std::pair<std::string, std::uint32_t>("8:16", 300)));
}

}  // namespace
}  // namespace engine
