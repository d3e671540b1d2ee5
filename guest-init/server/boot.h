// From the kernel's hand-over to a machine that can be served: everything that belongs to no clone
// and no tenant, done before the template is saved.
#pragma once

#include "guest-init/server/server.h"
#include "vmm/base/result.h"

namespace guest_init {

/// As PID 1 in the initramfs: mounts the kernel's filesystems on a root of our own, delegates the
/// cgroup controllers, brings the network devices up, opens the listeners.
base::Result<Machine> boot();

/// Enables every available controller for the cgroups below `root`.
base::Result<void> delegate_controllers(const std::string& root);

}  // namespace guest_init
