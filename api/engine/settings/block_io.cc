#include "api/engine/settings/block_io.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

namespace engine {

using base::Code;
using base::Error;
using base::Result;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

constexpr std::int64_t kLeastWeight = 10;
constexpr std::int64_t kMostWeight = 1000;

struct RateField {
  const char* name;
  std::uint64_t BlockRates::*rate;
};
constexpr RateField kRates[] = {{"BlkioDeviceReadBps", &BlockRates::read_bps},
                                {"BlkioDeviceWriteBps", &BlockRates::write_bps},
                                {"BlkioDeviceReadIOps", &BlockRates::read_iops},
                                {"BlkioDeviceWriteIOps", &BlockRates::write_iops}};

Error invalid(std::string message) { return Error{Code::kInvalidArgument, std::move(message)}; }

/// Whether it is {"Path": text, `number`: integer from 0} and nothing else.
bool has_form(const json& entry, const char* number) {
  if (!entry.is_object() || entry.size() != 2) return false;
  const auto path = entry.find("Path");
  const auto value = entry.find(number);
  return path != entry.end() && path->is_string() && value != entry.end() &&
         value->is_number_integer() && (value->is_number_unsigned() || *value >= 0);
}

bool is_weight(std::int64_t weight) { return weight >= kLeastWeight && weight <= kMostWeight; }

Result<dev_t> device_at(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0)
    return invalid("stat " + path.substr(0, 256) + ": " + std::strerror(errno));
  if (!S_ISBLK(status.st_mode)) return invalid(path.substr(0, 256) + " is not a block device");
  return status.st_rdev;
}

std::string number_of(dev_t device) {
  return std::to_string(major(device)) + ":" + std::to_string(minor(device));
}

/// The directory in sysfs of the disk that a partition is part of; a disk is its own. Empty: the
/// file system has no device.
fs::path whole_disk(dev_t device) {
  std::error_code error;
  const fs::path entry = fs::canonical(fs::path("/sys/dev/block") / number_of(device), error);
  if (error) return {};
  return fs::exists(entry / "partition", error) ? entry.parent_path() : entry;
}

bool same_disk(dev_t named, dev_t storage) {
  const fs::path disk = whole_disk(storage);
  return !disk.empty() && whole_disk(named) == disk;
}

}  // namespace

Result<void> check_block_io(const json& host) {
  const auto weight = host.at("BlkioWeight").get<std::int64_t>();
  if (weight != 0 && !is_weight(weight)) return invalid("Range of blkio weight is from 10 to 1000");
  for (const json& entry : host.at("BlkioWeightDevice")) {
    if (!has_form(entry, "Weight")) return invalid("invalid JSON: HostConfig.BlkioWeightDevice");
    if (!is_weight(entry.at("Weight").get<std::int64_t>()))
      return invalid("Range of blkio weight is from 10 to 1000");
  }
  for (const RateField& field : kRates)
    for (const json& entry : host.at(field.name))
      if (!has_form(entry, "Rate"))
        return invalid("invalid JSON: HostConfig." + std::string(field.name));
  return {};
}

Result<BlockRates> block_rates_for(const json& host, const fs::path& storage) {
  BlockRates rates;
  struct stat status {};
  if (::stat(storage.c_str(), &status) != 0) return base::errno_error("stat " + storage.string());
  for (const RateField& field : kRates)
    for (const json& entry : host.at(field.name)) {
      const auto device = device_at(entry.at("Path").get<std::string>());
      if (!device) return device.error();
      if (same_disk(*device, status.st_dev))
        rates.*field.rate = entry.at("Rate").get<std::uint64_t>();
    }
  return rates;
}

Result<GroupWeights> group_weights_for(const json& host) {
  GroupWeights weights;
  weights.cpu_shares = static_cast<std::uint64_t>(
      std::max<std::int64_t>(0, host.at("CpuShares").get<std::int64_t>()));
  weights.block_io = host.at("BlkioWeight").get<std::uint32_t>();
  for (const json& entry : host.at("BlkioWeightDevice")) {
    const auto device = device_at(entry.at("Path").get<std::string>());
    if (!device) return device.error();
    weights.block_io_of.emplace_back(number_of(*device), entry.at("Weight").get<std::uint32_t>());
  }
  return weights;
}

}  // namespace engine
