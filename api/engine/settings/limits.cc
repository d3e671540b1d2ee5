#include "api/engine/settings/limits.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "api/engine/settings/mounts/disk_size.h"
#include "api/engine/state/json_fields.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

constexpr std::int64_t kLeastMemory = 6 << 20;
constexpr std::int64_t kLeastWeight = 10;
constexpr std::int64_t kMostWeight = 1000;
constexpr std::uint64_t kNanoCpu = 1'000'000'000;

struct RateField {
  const char* name;
  std::vector<DeviceLimit> Limits::*asked;
  std::uint64_t GuestLimits::*kept;
};
constexpr RateField kRates[] = {
    {"BlkioDeviceReadBps", &Limits::read_bytes, &GuestLimits::read_bytes},
    {"BlkioDeviceWriteBps", &Limits::write_bytes, &GuestLimits::write_bytes},
    {"BlkioDeviceReadIOps", &Limits::read_operations, &GuestLimits::read_operations},
    {"BlkioDeviceWriteIOps", &Limits::write_operations, &GuestLimits::write_operations}};

Error invalid(std::string message) { return Error{Code::kInvalidArgument, std::move(message)}; }

std::uint64_t positive(std::int64_t number) {
  return static_cast<std::uint64_t>(std::max<std::int64_t>(0, number));
}

Result<void> parse_memory(const json& host, GuestLimits& limits) {
  const std::int64_t limit = integer_in(host, "Memory");
  const std::int64_t swap = integer_in(host, "MemorySwap");
  const std::int64_t reservation = integer_in(host, "MemoryReservation");
  if (limit != 0 && limit < kLeastMemory) return invalid("Minimum memory limit allowed is 6MB");
  if (limit == 0 && swap > 0)
    return invalid("You should always set the Memory limit when using Memoryswap limit, see usage");
  if (swap < -1 || (swap > 0 && swap < limit))
    return invalid("Minimum memoryswap limit should be larger than memory limit, see usage");
  if (reservation != 0 && reservation < kLeastMemory)
    return invalid("Minimum memory reservation allowed is 6MB");
  if (limit != 0 && reservation > limit)
    return invalid("Minimum memory limit can not be less than memory reservation limit, see usage");
  if (integer_in(host, "MemorySwappiness", -1) != -1)
    return Error{Code::kNotSupported,
                 "HostConfig.MemorySwappiness is not supported: cgroup v2 has no such knob"};
  limits.memory_bytes = positive(limit);
  limits.memory_swap_bytes = swap;
  limits.memory_low_bytes = positive(reservation);
  return {};
}

Result<std::int64_t> parse_nano_cpus(const json& host) {
  const std::int64_t nano = integer_in(host, "NanoCpus");
  const long cpus = ::sysconf(_SC_NPROCESSORS_ONLN);
  if (nano < 0 || nano > cpus * static_cast<std::int64_t>(kNanoCpu))
    return invalid("range of CPUs is from 0.01 to " + std::to_string(cpus) +
                   ".00, as there are only " + std::to_string(cpus) + " CPUs available");
  return nano;
}

/// A part of the CPUs' time, which is said in one of two ways.
Result<void> parse_cpu_time(const json& host, Limits& limits) {
  const auto nano = parse_nano_cpus(host);
  if (!nano) return nano.error();
  const std::int64_t period = integer_in(host, "CpuPeriod");
  const std::int64_t quota = integer_in(host, "CpuQuota");
  if (*nano > 0 && period > 0)
    return invalid("Conflicting options: Nano CPUs and CPU Period cannot both be set");
  if (*nano > 0 && quota > 0)
    return invalid("Conflicting options: Nano CPUs and CPU Quota cannot both be set");
  if (period != 0 && (period < 1000 || period > 1'000'000))
    return invalid(
        "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)");
  if (quota > 0 && quota < 1000)
    return invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)");
  limits.nano_cpus = *nano;
  GuestLimits& guest = limits.guest;
  if (*nano > 0) {
    guest.cpu_quota_us = positive(*nano) * guest.cpu_period_us / kNanoCpu;
  } else {
    guest.cpu_quota_us = positive(quota);
    if (period > 0) guest.cpu_period_us = positive(period);
  }
  return {};
}

Result<void> check_cpu_list(const std::string& list, const char* what) {
  if (list.empty() || highest_cpu(list)) return {};
  const std::string shown = list.substr(0, 64);
  return invalid("Invalid value " + shown + " for " + what + ": invalid format: " + shown);
}

Result<void> parse_cpus(const json& host, Limits& limits) {
  RETURN_IF_ERROR(parse_cpu_time(host, limits));
  const std::int64_t shares = integer_in(host, "CpuShares");
  if (shares < 0) return invalid("CPU shares can not be less than 0");
  limits.guest.cpu_shares = positive(shares);
  limits.guest.cpuset = text_in(host, "CpusetCpus");
  RETURN_IF_ERROR(check_cpu_list(limits.guest.cpuset, "cpuset cpus"));
  RETURN_IF_ERROR(check_cpu_list(text_in(host, "CpusetMems"), "cpuset mems"));
  return check_word(host, "CpusetMems", {"0"});
}

bool is_weight(std::int64_t weight) { return weight >= kLeastWeight && weight <= kMostWeight; }

/// {"Path": text, `number`: integer from 0} and nothing else; nullopt if it is not.
std::optional<DeviceLimit> device_limit(const json& entry, const char* number) {
  if (!entry.is_object() || entry.size() != 2) return std::nullopt;
  const auto path = entry.find("Path");
  const auto value = entry.find(number);
  const bool has_form = path != entry.end() && path->is_string() && value != entry.end() &&
                        value->is_number_integer() && (value->is_number_unsigned() || *value >= 0);
  if (!has_form) return std::nullopt;
  return DeviceLimit{.path = path->get<std::string>(), .value = value->get<std::uint64_t>()};
}

Result<std::vector<DeviceLimit>> device_limits(const json& host, const char* field,
                                               const char* number) {
  std::vector<DeviceLimit> limits;
  for (const json& entry : host.at(field)) {
    auto limit = device_limit(entry, number);
    if (!limit) return invalid("invalid JSON: HostConfig." + std::string(field));
    limits.push_back(*std::move(limit));
  }
  return limits;
}

Result<void> parse_block_io(const json& host, Limits& limits) {
  const Error bad_weight = invalid("Range of blkio weight is from 10 to 1000");
  const std::int64_t weight = integer_in(host, "BlkioWeight");
  if (weight != 0 && !is_weight(weight)) return bad_weight;
  limits.block_weight = static_cast<std::uint32_t>(weight);
  auto weights = device_limits(host, "BlkioWeightDevice", "Weight");
  if (!weights) return std::move(weights).error();
  for (const DeviceLimit& device : *weights)
    if (device.value > kMostWeight || device.value < kLeastWeight) return bad_weight;
  limits.block_weights = *std::move(weights);
  for (const RateField& field : kRates) {
    auto rates = device_limits(host, field.name, "Rate");
    if (!rates) return std::move(rates).error();
    limits.*field.asked = *std::move(rates);
  }
  return {};
}

Result<void> parse_storage(const json& host, Limits& limits) {
  for (const auto& [name, value] : host.at("StorageOpt").items()) {
    if (name != "size")
      return Error{Code::kNotSupported,
                   "storage option \"" + name.substr(0, 64) + "\" is not supported"};
    const auto bytes = parse_disk_bytes(value.get_ref<const std::string&>());
    if (!bytes) return bytes.error();
    limits.disk_bytes = *bytes;
  }
  return {};
}

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

Result<Limits> parse_limits(const json& host) {
  Limits limits;
  RETURN_IF_ERROR(parse_memory(host, limits.guest));
  RETURN_IF_ERROR(parse_cpus(host, limits));
  RETURN_IF_ERROR(parse_block_io(host, limits));
  RETURN_IF_ERROR(parse_storage(host, limits));
  limits.guest.pids = positive(integer_in(host, "PidsLimit"));
  return limits;
}

Result<void> check_devices(const Limits& limits) {
  for (const RateField& field : kRates)
    for (const DeviceLimit& rate : limits.*field.asked)
      if (const auto device = device_at(rate.path); !device) return device.error();
  for (const DeviceLimit& weight : limits.block_weights)
    if (const auto device = device_at(weight.path); !device) return device.error();
  return {};
}

Result<GuestLimits> limits_for(const Limits& limits, const fs::path& storage) {
  GuestLimits guest = limits.guest;
  struct stat status {};
  if (::stat(storage.c_str(), &status) != 0) return base::errno_error("stat " + storage.string());
  for (const RateField& field : kRates)
    for (const DeviceLimit& rate : limits.*field.asked) {
      const auto device = device_at(rate.path);
      if (!device) return device.error();
      if (same_disk(*device, status.st_dev)) guest.*field.kept = rate.value;
    }
  return guest;
}

Result<GroupWeights> group_weights_for(const Limits& limits) {
  GroupWeights weights{
      .cpu_shares = limits.guest.cpu_shares, .block_io = limits.block_weight, .block_io_of = {}};
  for (const DeviceLimit& weight : limits.block_weights) {
    const auto device = device_at(weight.path);
    if (!device) return device.error();
    weights.block_io_of.emplace_back(number_of(*device), static_cast<std::uint32_t>(weight.value));
  }
  return weights;
}

Result<void> check_cpuset(const Limits& limits, unsigned cpus) {
  const auto highest = highest_cpu(limits.guest.cpuset);
  if (!highest || *highest < cpus) return {};
  return invalid("Requested CPUs are not available - requested " +
                 limits.guest.cpuset.substr(0, 64) + ", available: 0" +
                 (cpus > 1 ? "-" + std::to_string(cpus - 1) : ""));
}

std::optional<unsigned> highest_cpu(std::string_view list) {
  constexpr unsigned kMost = 8191;
  unsigned highest = 0;
  bool in_range = false;
  unsigned first = 0;
  while (true) {
    unsigned value = 0;
    const auto parsed = std::from_chars(list.data(), list.data() + list.size(), value);
    if (parsed.ec != std::errc() || value > kMost || (in_range && value < first))
      return std::nullopt;
    highest = std::max(highest, value);
    list.remove_prefix(static_cast<std::size_t>(parsed.ptr - list.data()));
    if (list.empty()) return highest;
    const bool begins_range = list.front() == '-' && !in_range;
    if (!begins_range && list.front() != ',') return std::nullopt;
    in_range = begins_range;
    first = value;
    list.remove_prefix(1);
  }
}

}  // namespace engine
