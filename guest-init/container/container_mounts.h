// ContainerMounts: a container's volumes and the host's files in it.
//
// A volume is an ext4 on a disk of its own, or a directory of the host. Either has the directory
// `_data`, and only that appears in the container, so the container does not see what is beside it
// (mkfs leaves lost+found). A file or directory of the host appears as it is, also where a volume
// is one, which then may be filled or shown in part as other volumes are. What is the host's comes
// from the machine's file server, by virtio-fs. A socket of the host is a file at which guest-init
// listens. Each source is opened once, where the container does not see it, and mounted from there
// at each of its places. Trust: containers wrote what is in a volume, and the image holds what is
// at its places. Symbolic links in either are followed, but never lead outside. Runs in the
// container's task, before its first process.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "guest-init/protocol/messages.h"
#include "guest-init/system/mounts.h"
#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace guest_init {

/// Mounts what the machine's file server shows at `directory`: each file or directory of the host
/// under its number.
using MountShares = std::function<base::Result<void>(const std::string& directory)>;
base::Result<void> mount_shares(const std::string& directory);

class ContainerMounts {
 public:
  using Place = protocol::PrepareContainer::Mount;
  using Source = protocol::PrepareContainer::Source;

  explicit ContainerMounts(MountShares mount_shares) : mount_shares_(std::move(mount_shares)) {}

  /// Mounts the block devices `disks`, and what `places` name of the host, below the directory
  /// `stage`; sockets are in the directory `sockets`. First call, once.
  base::Result<void> open(const std::vector<std::string>& disks, const std::string& stage,
                          const std::string& sockets, std::vector<Place> places);
  /// The places, in the order in which they are to be mounted.
  const std::vector<Place>& places() const { return places_; }
  /// Mounts one of the places in `root`.
  base::Result<void> mount(const Place& place, const RootDirectory& root);

  /// Writes all of them back, and leaves the disks clean (read-only). If one fails, the others are
  /// still done.
  base::Result<void> make_clean() const;

 private:
  /// Where a mount's files are, opened once for all of its places.
  struct Opened {
    base::UniqueFd root;  // O_PATH
    bool is_shown = false;
  };
  using Key = std::pair<Source, std::uint32_t>;

  base::Result<void> open_disks(const std::vector<std::string>& disks, const std::string& stage);
  base::Result<void> open_sockets(const std::string& directory);
  base::Result<void> open_shares(const std::string& directory);
  /// Copies into an empty volume what the image has at its places. Called before the volume is
  /// mounted anywhere, as it may replace `_data`.
  base::Result<void> fill_from_image(const Key& volume, int to, const RootDirectory& root) const;
  static base::Result<void> show(const Place& place, int source, const RootDirectory& root);

  MountShares mount_shares_;
  std::vector<Place> places_;
  base::UniqueFd shares_;  // O_PATH, the root of what the file server shows
  std::map<Key, Opened> opened_;
};

}  // namespace guest_init
