// The mount system calls guest-init uses, with Result errors that name what was mounted where.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace guest_init {

using MountParameters = std::vector<std::pair<std::string, std::string>>;

/// mount(2) at a path of the calling process's namespace.
base::Result<void> mount_at(const std::string& source, const std::string& target, const char* type,
                            unsigned long flags, const std::string& data = {});

/// A new file system that is attached nowhere yet (fsopen, fsconfig, fsmount). A parameter with an
/// empty value is a flag. `attributes` are MOUNT_ATTR_*.
base::Result<base::UniqueFd> new_mount(const char* type, const MountParameters& parameters,
                                       std::uint64_t attributes);

/// Mounts the ext4 of a container or a volume, which the host has made on `device`.
base::Result<void> mount_disk(const std::string& device, const std::string& directory);

/// Writes a disk back and makes its file system read-only wherever it is mounted, which leaves it
/// clean. `root`: the root directory of that file system, may be O_PATH.
base::Result<void> make_disk_read_only(int root);

/// A copy of the mount (sub)tree at `path`, attached nowhere yet.
base::Result<base::UniqueFd> clone_mount(int directory, const std::string& path);

/// Attaches a detached mount, or moves an attached one, to the file or directory `target`.
base::Result<void> move_mount_to(int mount, int target);

base::Result<void> make_read_only(int mount, bool recursive);

/// Adds MOUNT_ATTR_* to a mount, not to those below it.
base::Result<void> add_mount_attributes(int mount, std::uint64_t attributes);

/// An O_PATH descriptor of `path`.
base::Result<base::UniqueFd> open_path(const std::string& path);

/// mkdir -p with mode 0755.
base::Result<void> make_directories(const std::string& path);

/// The root directory of a container that no process has as its root yet. Paths are looked up below
/// it as the container will see them: symbolic links, hostile ones too, never lead outside (openat2
/// RESOLVE_IN_ROOT).
class RootDirectory {
 public:
  explicit RootDirectory(base::UniqueFd root) : root_(std::move(root)) {}

  int get() const { return root_.get(); }
  /// O_PATH descriptor of what is at `path`; kNotFound if nothing is.
  base::Result<base::UniqueFd> find(const std::string& path) const;
  /// As find(), but makes the directory, and those above it, where they are missing.
  base::Result<base::UniqueFd> directory(const std::string& path) const;
  /// As directory(), but makes an empty regular file, for something to be mounted on.
  base::Result<base::UniqueFd> file(const std::string& path) const;

 private:
  base::Result<base::UniqueFd> open_in_root(const std::string& path, std::uint64_t flags) const;

  base::UniqueFd root_;
};

}  // namespace guest_init
