// MachineDisks: the machine's three disks, on which the host puts what its containers need: layers
// in the window and on the layers disk, ext4 file systems on the writable disk. It gives a
// container the block devices of its layers and file systems, and takes them back. Threads: the
// loop's.
#pragma once

#include <string>
#include <vector>

#include "guest-init/container/partitioned_disk.h"
#include "guest-init/protocol/messages.h"
#include "vmm/base/result.h"

namespace guest_init {

/// The block devices of one container, from MachineDisks::take() to give_back().
struct ContainerDisks {
  struct Layer {
    std::string device;      // with an EROFS
    bool in_memory = false;  // its files need no page cache (DAX)
  };
  std::vector<Layer> layers;         // lowest layer first
  std::string writable;              // with an ext4
  std::vector<std::string> volumes;  // each with an ext4
  std::vector<std::string> numbers;  // of the whole disks, for io.max: "254:16"

  struct Part {
    PartitionedDisk* disk = nullptr;
    PartitionedDisk::Range range;
  };
  std::vector<Part> parts;  // to be given back
};

class MachineDisks {
 public:
  struct Devices {
    std::string layers;
    std::string window;
    std::string writable;
  };

  MachineDisks() = default;
  MachineDisks(const MachineDisks&) = delete;  // ContainerDisks point into it
  MachineDisks& operator=(const MachineDisks&) = delete;

  /// Opens the disks, once, and drops what the kernel has cached of them: it read them before they
  /// had contents. A disk that is missing is an Error of the take() that needs it.
  void open(const Devices& devices);
  /// Makes the block device of the first container's own file system, before the machine is cloned.
  /// `bytes`: the size of that file system at most.
  base::Result<void> make_ahead(std::uint64_t bytes);

  /// The block devices of the layers, disk and volumes that `request` names. On an Error nothing is
  /// taken.
  base::Result<ContainerDisks> take(const protocol::PrepareContainer& request);
  /// Gives everything in `disks` back. kConflict: something in the guest still uses a part; `disks`
  /// then holds what is left, and the call can be repeated.
  base::Result<void> give_back(ContainerDisks& disks);

 private:
  base::Result<void> take_layers(const protocol::PrepareContainer& request, ContainerDisks& disks);
  base::Result<void> take_writable(const protocol::PrepareContainer& request,
                                   ContainerDisks& disks);
  base::Result<std::string> take_part(PartitionedDisk& disk, const PartitionedDisk::Range& range,
                                      ContainerDisks& disks);

  PartitionedDisk layers_;
  PartitionedDisk window_;
  PartitionedDisk writable_;
  std::vector<std::string> numbers_;  // of the disks whose reads and writes can be limited
};

}  // namespace guest_init
