// ContainerVolumes: keeps which volumes a container mentions, and which of them were made for it;
// says where the files of its mounts are.
//
// Threads: the io_context thread. Volumes, Machines, ContainerTable and Background outlive it.
// Errors carry Docker's sentences: kInvalidArgument, kConflict, and those of volumes.h.
#pragma once

#include <string_view>
#include <vector>

#include "api/async/net.h"
#include "api/engine/container/container.h"
#include "api/engine/container/machine_spec.h"
#include "api/engine/containers/container_table.h"
#include "api/engine/containers/volume_claims.h"
#include "api/engine/volumes/volumes.h"

namespace engine {

class ContainerVolumes {
 public:
  ContainerVolumes(Volumes& volumes, Machines& machines, const ContainerTable& table,
                   const Background& background)
      : volumes_(volumes), machines_(machines), table_(table), claims_(volumes, background) {}

  /// Makes the volumes that the container wants and that are not there, and mentions them all;
  /// looks whether what it wants of the host is there. On an Error drop() is to follow.
  net::awaitable<base::Result<void>> make(ContainerPtr container);
  /// Takes note that a container of an earlier daemon mentions the volumes that its row names.
  void mention(const Container& container);
  /// The same where the row is no list of mounts: the container mentions every volume whose name is
  /// in the text, so that nobody prunes what it may have written.
  void mention_all_of(const Container& container, std::string_view mounts_text);
  /// The container mentions its volumes no longer; those of `gone`, which have no row, go.
  net::awaitable<void> drop(ContainerPtr container, std::vector<VolumePtr> gone);

  /// The container's volumes without a name that no other container mentions.
  std::vector<VolumePtr> own(const Container& container) const;
  /// Those of own() that have no row yet.
  std::vector<VolumePtr> unstored(const Container& container) const;
  /// Whether the container writes to a volume that outlives it, so that its machine must be given
  /// the time to write back. `own_too`: the volumes of own() go with it and do not count.
  bool lasts(const Container& container, bool own_too) const;
  /// Where the files of its mounts are, in their order. An Error, in Docker's words, says what is
  /// wrong with the directory of the host that a volume is; what is wrong with a bind mount's path
  /// shows when the machine gets it.
  net::awaitable<base::Result<std::vector<MountSource>>> sources(ContainerPtr container) const;

  /// Says whose machine has which volume.
  VolumeClaims& claims() { return claims_; }

 private:
  base::Result<std::vector<MountPoint>> of_others(const Settings& settings) const;
  net::awaitable<MountSource> bind_source(MountPoint mount) const;
  net::awaitable<base::Result<MountSource>> volume_source(MountPoint mount) const;
  net::awaitable<base::Result<void>> make_one(ContainerPtr container, MountWish wish);
  void take(Container& container, const MountPoint& mount);

  Volumes& volumes_;
  Machines& machines_;
  const ContainerTable& table_;
  VolumeClaims claims_;
};

}  // namespace engine
