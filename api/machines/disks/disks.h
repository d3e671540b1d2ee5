// Disks: makes the writable disks of containers and volumes, each a sparse ext4 file.
//
// A new disk is a copy of a pre-formatted master (data extents only, shared blocks where the host's
// filesystem can), taken from a few made in advance. The host never mounts or parses it afterwards:
// its bytes are the guest's.
// Threads: io_context thread; copying happens on the blocking pool.
#pragma once

#include <cstdint>
#include <filesystem>

#include "api/async/net.h"
#include "vmm/base/result.h"

namespace engine {

inline constexpr std::uint64_t kDefaultDiskBytes = 10ull << 30;

class Disks {
 public:
  virtual ~Disks() = default;

  /// Makes `path` (it must not exist; its directory must) as an empty disk of `bytes` (0: default;
  /// a multiple of 1 MiB from 64 MiB to 4 TiB). On an error nothing is left at `path`.
  virtual net::awaitable<base::Result<void>> create(std::filesystem::path path,
                                                    std::uint64_t bytes = 0) = 0;
};

}  // namespace engine
