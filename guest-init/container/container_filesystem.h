// The root filesystem of one container: EROFS layers, a writable directory on the ext4 disk, an
// overlay of both, what Docker mounts into every container, volumes, files of the host and tmpfs.
//
// All of it runs in the container's own task (system/shared_task.h), in its mount namespace:
//   stage()  what depends on no container, made before the machine is cloned: /proc, /sys, /dev.
//   build()  the rest; afterwards the task's root is the container's root.
// Calls come in this order, each once; before them, for a container that shares with another,
// share_memory() and share_network_files().
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "guest-init/container/container_mounts.h"
#include "guest-init/container/machine_disks.h"
#include "guest-init/container/network_files.h"
#include "guest-init/protocol/messages.h"
#include "guest-init/system/mounts.h"
#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace guest_init {

class ContainerFilesystem {
 public:
  /// `stage` is a directory prepared by prepare_stage(); `files` one for this container alone.
  ContainerFilesystem(std::string stage, std::string files, MountShares mount_shares)
      : stage_(std::move(stage)),
        files_(std::move(files)),
        own_network_files_(files_),
        mounts_(std::move(mount_shares)) {}

  /// Makes the empty directories all containers' mounts start from (once, at boot).
  static base::Result<void> prepare_stage(const std::string& stage);

  /// Its /etc/hostname, /etc/hosts and /etc/resolv.conf are those of `donor`.
  void share_network_files(const ContainerFilesystem& donor) {
    shared_network_files_ = donor.network_files();
  }
  /// Its own, that others may share: /etc/hosts and so on.
  NetworkFiles& own_network_files() { return own_network_files_; }
  /// Its /dev/shm is that of `donor`, in whose mount namespace this is called.
  base::Result<void> share_memory(const ContainerFilesystem& donor);

  base::Result<void> stage();
  base::Result<void> build(const protocol::PrepareContainer& spec, const ContainerDisks& disks,
                           const std::string& machine_id);

  /// Where the sockets that its mounts show are, under their numbers, when build() is called.
  std::string socket_directory() const { return files_ + "/sockets"; }

  /// New descriptors of the container's writable directory and of its layers, highest first, for
  /// the files tool, which compares the container's files with its image's.
  base::Result<std::vector<base::UniqueFd>> directories() const;

  /// To be called once the container's processes are gone: writes its disk and its volumes back and
  /// leaves them clean (read-only). If one fails, the others are still done.
  base::Result<void> make_disks_clean() const;

 private:
  base::Result<void> mount_kernel_filesystems(bool privileged);
  base::Result<void> cover_paths(const RootDirectory& root, const std::vector<std::string>& masked,
                                 const std::vector<std::string>& read_only) const;
  base::Result<void> mount_root(const ContainerDisks& disks);
  base::Result<void> mount_layers(const std::vector<ContainerDisks::Layer>& layers);
  base::Result<void> attach_kernel_filesystems(const protocol::PrepareContainer& spec,
                                               const RootDirectory& root);
  base::Result<void> mount_all(const protocol::PrepareContainer& spec, const RootDirectory& root);
  base::Result<void> mount_files(const protocol::PrepareContainer& spec, const RootDirectory& root,
                                 const std::string& machine_id);
  base::Result<void> mount_network_files(const protocol::PrepareContainer& spec,
                                         const RootDirectory& root);
  base::Result<void> show_file(const std::string& directory, const std::string& name,
                               const RootDirectory& root) const;
  /// Where those are that it shows: its own, or a donor's.
  const std::string& network_files() const {
    return shared_network_files_ ? *shared_network_files_ : own_network_files_.directory();
  }
  base::Result<void> set_up_memory(const protocol::PrepareContainer& spec);
  base::Result<void> enter_root() const;

  std::string stage_;
  std::string files_;
  NetworkFiles own_network_files_;
  std::optional<std::string> shared_network_files_;  // the directory of a donor's
  std::uint64_t shm_bytes_ = 64u << 20;              // size of the staged /dev/shm
  base::UniqueFd shared_memory_;                     // a copy of a donor's /dev/shm, to be mounted
  base::UniqueFd memory_;                            // O_PATH, its /dev/shm; none: it has none
  std::vector<std::string> masked_;
  std::vector<std::string> read_only_;
  bool is_new_ = true;   // the disk had no files of this container
  base::UniqueFd disk_;  // O_PATH, as the following; they outlive the mount namespace
  base::UniqueFd upper_;
  std::vector<base::UniqueFd> layers_;  // lowest first
  ContainerMounts mounts_;
};

}  // namespace guest_init
