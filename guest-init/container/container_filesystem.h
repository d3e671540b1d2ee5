// The root filesystem of one container: EROFS layers, a writable directory on the ext4 disk, an
// overlay of both, what Docker mounts into every container, volumes and tmpfs.
//
// All of it runs in the container's own task (system/shared_task.h), in its mount namespace:
//   stage()  what depends on no container, made before the machine is cloned: /proc, /sys, /dev.
//   build()  the rest; afterwards the task's root is the container's root.
// Calls come in this order, each once.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "guest-init/container/volumes.h"
#include "guest-init/protocol/messages.h"
#include "guest-init/system/mounts.h"
#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace guest_init {

struct ContainerDisks {
  struct Layer {
    std::string device;      // block device with an EROFS
    bool in_memory = false;  // its files need no page cache (DAX)
  };
  std::vector<Layer> layers;         // lowest layer first
  std::string writable;              // block device with an ext4
  std::vector<std::string> volumes;  // the same
  std::vector<std::string> numbers;  // of the whole disks: "254:16"
};

class ContainerFilesystem {
 public:
  /// `stage` is a directory prepared by prepare_stage(); `files` one for this container alone.
  ContainerFilesystem(std::string stage, std::string files)
      : stage_(std::move(stage)), files_(std::move(files)) {}

  /// Makes the empty directories all containers' mounts start from (once, at boot).
  static base::Result<void> prepare_stage(const std::string& stage);

  base::Result<void> stage();
  base::Result<void> build(const protocol::PrepareContainer& spec, const ContainerDisks& disks,
                           const std::string& machine_id);

  /// For whoever compares the container's files with its image's: its writable directory, then its
  /// layers, highest first. Valid as long as this object; reading them does not touch the
  /// container.
  base::Result<std::vector<base::UniqueFd>> directories() const;

  /// After the container's processes are gone: writes its disk and its volumes back and leaves them
  /// clean (read-only), also if one of them fails.
  base::Result<void> make_disks_clean() const;

 private:
  base::Result<void> mount_kernel_filesystems(bool privileged);
  base::Result<void> cover_paths(const RootDirectory& root, const std::vector<std::string>& masked,
                                 const std::vector<std::string>& read_only) const;
  base::Result<void> mount_root(const protocol::PrepareContainer& spec,
                                const ContainerDisks& disks);
  base::Result<void> mount_layers(const std::vector<ContainerDisks::Layer>& layers);
  base::Result<void> attach_kernel_filesystems(const protocol::PrepareContainer& spec,
                                               const RootDirectory& root);
  base::Result<void> mount_tmpfs(const protocol::PrepareContainer& spec,
                                 const RootDirectory& root) const;
  base::Result<void> mount_files(const protocol::PrepareContainer& spec, const RootDirectory& root,
                                 const std::string& machine_id) const;
  base::Result<void> mount_file(const std::string& name, const std::string& contents,
                                const RootDirectory& root) const;
  base::Result<void> enter_root() const;

  std::string stage_;
  std::string files_;
  std::uint64_t shm_bytes_ = 64u << 20;  // of the staged /dev/shm
  std::vector<std::string> masked_;
  std::vector<std::string> read_only_;
  bool is_new_ = true;   // the disk had no files of this container
  base::UniqueFd disk_;  // O_PATH, as the following; they outlive the mount namespace
  base::UniqueFd upper_;
  std::vector<base::UniqueFd> layers_;  // lowest first
  Volumes volumes_;
};

}  // namespace guest_init
