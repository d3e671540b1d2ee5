// A disk that carries several file systems (image layers on the layers disk, or in the window into
// host memory, which is a disk too; a container's ext4 and its volumes on the writable one): each
// becomes a block device of its own, a partition made with BLKPG at the place the host named.
// Layers that two containers share become one device, so their pages are cached once.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace guest_init {

class PartitionedDisk {
 public:
  /// Drops what the kernel has read from it while it had no contents yet. A machine without this
  /// disk is fine until a partition is asked for.
  static PartitionedDisk open(std::string device);
  /// The window, which the kernel takes for writable until it is told otherwise, as it is here.
  static PartitionedDisk open_window(std::string device);

  /// The block device of these bytes. Its file systems exclude one that is mounted from the whole
  /// disk, and the other way round.
  base::Result<std::string> device_of(std::uint64_t offset, std::uint64_t length);

 private:
  struct Partition {
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
  };

  std::string device_;
  base::UniqueFd fd_;
  std::vector<Partition> partitions_;  // partition number - 1
};

}  // namespace guest_init
