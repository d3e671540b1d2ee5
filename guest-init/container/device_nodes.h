// Makes and changes a container's /dev. Runs in the container's task, before its first process.
#pragma once

#include <string>

#include "vmm/base/result.h"

namespace guest_init {

/// Mounts a tmpfs at `path` and fills it as Docker does: null, zero, full, random, urandom, tty,
/// links, and mounts for pts, shm (`shm_bytes` large) and mqueue of the calling process's
/// namespaces.
base::Result<void> make_device_directory(const std::string& path, std::uint64_t shm_bytes);

/// Changes the size of the shm in the /dev at `path`, which make_device_directory() made.
base::Result<void> resize_shm(const std::string& path, std::uint64_t shm_bytes);

/// Takes the shm away: the container has none.
base::Result<void> remove_shm(const std::string& path);

/// Puts the detached `mount`, a copy of another container's shm, in its place.
base::Result<void> replace_shm(const std::string& path, int mount);

/// Adds every device node of `from` (guest-init's own /dev) that is missing: a privileged container
/// sees all devices of its machine.
base::Result<void> add_all_devices(const std::string& from, const std::string& path);

}  // namespace guest_init
