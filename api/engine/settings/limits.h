// Limits: what a container may use, as the HostConfig of a create or an update request says it:
// memory, CPUs, processes, block I/O, the writable disk.
//
// The guest keeps most of them, so they are parsed into the struct that it is sent. Two kinds need
// the host's devices and are left open until a machine starts or a limit changes. Rates of block
// I/O are kept in the guest (io.max of the container's cgroup, on both disks of its machine); a
// rate names a device of the host: it holds where the container's files lie on that device, and
// asks nothing where they do not, because a container reaches no other. Weights are between
// containers, so they are kept on the host (io.weight of the machine's cgroup).
// Trust: all of it is the client's. Errors: kInvalidArgument and kNotSupported in Docker's words.
// Threads: any.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/privileged/privileged.h"
#include "guest-init/protocol/messages.h"
#include "vmm/base/result.h"

namespace engine {

/// Limits as a machine's guest keeps them.
using GuestLimits = protocol::PrepareContainer::Limits;

/// A number for one of the host's block devices.
struct DeviceLimit {
  std::string path;
  std::uint64_t value = 0;
};

struct Limits {
  GuestLimits guest;           // without the rates of block I/O: limits_for()
  std::int64_t nano_cpus = 0;  // in `guest` as a quota; the machine gets as many CPUs. 0: not said
  std::uint64_t disk_bytes = 0;  // size of the writable disk, StorageOpt; 0: the default

  std::uint32_t block_weight = 0;  // 10 to 1000; 0: not said
  std::vector<DeviceLimit> block_weights;
  /// Bytes and operations a second; of two for the same device the later one counts.
  std::vector<DeviceLimit> read_bytes;
  std::vector<DeviceLimit> write_bytes;
  std::vector<DeviceLimit> read_operations;
  std::vector<DeviceLimit> write_operations;
};

/// Reads and checks them. `host_config` has every field of host_config_fields(), of its type. Looks
/// at no device.
base::Result<Limits> parse_limits(const nlohmann::json& host_config);

/// kInvalidArgument if they name a path that is no block device.
base::Result<void> check_devices(const Limits& limits);

/// The limits that the guest of a container keeps, whose files are below `storage`. Errors: as
/// check_devices().
base::Result<GuestLimits> limits_for(const Limits& limits, const std::filesystem::path& storage);

/// The weights of its machine's cgroup, CPU shares too. Errors: as check_devices().
base::Result<GroupWeights> group_weights_for(const Limits& limits);

/// kInvalidArgument if they name a CPU that a machine with `cpus` CPUs does not have.
base::Result<void> check_cpuset(const Limits& limits, unsigned cpus);

/// The highest number in a list like "0-2,5"; nullopt if it is no such list.
std::optional<unsigned> highest_cpu(std::string_view list);

}  // namespace engine
