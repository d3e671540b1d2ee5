// Volumes: a container's volumes. Each is an ext4 with the directory `_data`, which is what appears
// in the container: what mkfs leaves beside it (lost+found) is none of the container's business.
//
// The ext4 is mounted once, where the container will not see it; `_data`, or a directory in it, is
// mounted from there at each of the volume's places.
// Trust: what is in a volume was written by containers, what is at its places comes with the image.
// Links in either lead nowhere outside.
// Runs in the container's task, before its first process.
#pragma once

#include <string>
#include <vector>

#include "guest-init/protocol/messages.h"
#include "guest-init/system/mounts.h"
#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace guest_init {

class Volumes {
 public:
  using Place = protocol::PrepareContainer::Volume;

  /// Mounts the volumes on the block devices `disks` below the directory `stage`, and what `places`
  /// say in `root`, in this order. Once.
  base::Result<void> mount(const std::vector<std::string>& disks, const std::string& stage,
                           const std::vector<Place>& places, const RootDirectory& root);

  /// Writes all of them back and leaves them clean (read-only), also if one of them fails.
  base::Result<void> make_clean() const;

 private:
  /// Before the volume is mounted anywhere: it replaces what would be mounted there.
  base::Result<void> fill_from_image(std::size_t disk, const std::vector<Place>& places,
                                     const RootDirectory& root) const;
  base::Result<void> mount_place(const Place& place, const RootDirectory& root) const;

  std::vector<base::UniqueFd> disks_;  // O_PATH, the root of each
};

}  // namespace guest_init
