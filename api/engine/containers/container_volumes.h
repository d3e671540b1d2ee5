// ContainerVolumes: which volumes a container mentions, and which of them were made for it.
//
// Threads: the io_context thread. Volumes, ContainerTable and Background outlive it.
// Errors carry Docker's sentences: kInvalidArgument, kConflict, and those of volumes.h.
#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

#include "api/async/net.h"
#include "api/engine/container/container.h"
#include "api/engine/containers/container_table.h"
#include "api/engine/containers/volume_claims.h"
#include "api/engine/volumes/volumes.h"

namespace engine {

class ContainerVolumes {
 public:
  ContainerVolumes(Volumes& volumes, const ContainerTable& table, const Background& background)
      : volumes_(volumes), table_(table), claims_(background) {}

  /// Makes the volumes that the container wants and that are not there, and mentions them all. On
  /// an Error drop() is to follow.
  net::awaitable<base::Result<void>> make(ContainerPtr container);
  /// One that an earlier daemon knew mentions what its row says.
  void mention(const Container& container);
  /// Its row could not be read as a list of mounts: nobody shall prune what it may have written.
  void mention_all_of(const Container& container, std::string_view mounts_text);
  /// The container mentions its volumes no longer; those of `gone`, which have no row, go.
  net::awaitable<void> drop(ContainerPtr container, std::vector<VolumePtr> gone);

  /// Those without a name that no other container mentions.
  std::vector<VolumePtr> own(const Container& container) const;
  /// Those of own() that have no row yet.
  std::vector<VolumePtr> unstored(const Container& container) const;
  /// Whether what a machine has not written back yet is missed. `own_too`: not if it is in one of
  /// own().
  bool lasts(const Container& container, bool own_too) const;
  /// The disks of its mounts, in their order.
  std::vector<std::filesystem::path> disks(const Container& container) const;

  /// Whose machine has which of them.
  VolumeClaims& claims() { return claims_; }

 private:
  base::Result<std::vector<MountPoint>> of_others(const Settings& settings) const;
  void take(Container& container, const MountPoint& mount);

  Volumes& volumes_;
  const ContainerTable& table_;
  VolumeClaims claims_;
};

}  // namespace engine
