// PartitionedDisk: a disk that carries several file systems: image layers on the layers disk, or in
// the window into host memory, which is a disk too; the ext4s of containers and volumes on the
// writable disk. Each becomes a block device of its own, a partition made with BLKPG at the place
// that the host named. Layers that two containers share are one device, so their pages are cached
// once. Threads: the loop's.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace guest_init {

class PartitionedDisk {
 public:
  PartitionedDisk() = default;
  /// Opens the disk and drops what the kernel has cached of it, which it read before the disk had
  /// contents. If there is no such disk, take() and make_ahead() fail with kNotFound.
  static PartitionedDisk open(std::string device);
  /// Opens the window, and sets it read-only: the kernel takes it for writable by default.
  static PartitionedDisk open_window(std::string device);

  struct Range {
    std::uint64_t offset = 0;
    std::uint64_t length = 0;

    friend bool operator==(const Range&, const Range&) = default;
  };

  /// Makes the block device of these bytes, so that their first take() finds it.
  base::Result<void> make_ahead(const Range& range);
  /// The path of the block device of these bytes, for one more user. While a partition's file
  /// system is mounted, the whole disk cannot be mounted, and the other way round.
  base::Result<std::string> take(const Range& range);
  /// One user less; the block device goes with its last user. kConflict: something in the guest
  /// still has the device open or mounted; then nothing has changed.
  base::Result<void> give_back(const Range& range);

 private:
  struct Partition {
    Range range;
    bool exists = false;
    int users = 0;
  };

  base::Result<std::size_t> find_or_add(const Range& range);
  std::vector<Partition>::iterator find(const Range& range);
  std::string name_of(std::size_t index) const;
  base::Result<void> change(int operation, std::size_t index, const Range& range) const;

  std::string device_;
  base::UniqueFd fd_;
  std::vector<Partition> partitions_;  // partition number - 1
};

}  // namespace guest_init
