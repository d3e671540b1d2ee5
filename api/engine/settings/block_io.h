// Block I/O limits of a create request: the HostConfig fields that begin with Blkio.
//
// Rates are kept in the guest (io.max of the container's cgroup, on both disks of its machine).
// A rate names a device of the host: it holds where the container's files lie on that device, and
// asks nothing where they do not, because a container reaches no other. Weights are between
// containers, so they are kept on the host (io.weight of the machine's cgroup).
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "api/privileged/privileged.h"
#include "vmm/base/result.h"

namespace engine {

/// Bytes and operations a second; 0 = unlimited.
struct BlockRates {
  std::uint64_t read_bps = 0;
  std::uint64_t write_bps = 0;
  std::uint64_t read_iops = 0;
  std::uint64_t write_iops = 0;
};

/// kInvalidArgument with Docker's sentence. Looks at no device.
base::Result<void> check_block_io(const nlohmann::json& host_config);

/// For a container whose files are below `storage`. Checked before. Errors: kInvalidArgument for a
/// path that is no block device.
base::Result<BlockRates> block_rates_for(const nlohmann::json& host_config,
                                         const std::filesystem::path& storage);

/// The weights of its machine's cgroup, CPU shares too. Errors: as block_rates_for.
base::Result<GroupWeights> group_weights_for(const nlohmann::json& host_config);

}  // namespace engine
