// boot(): turns what the kernel hands over into a machine that Server can serve. It does all that
// belongs to no clone and no tenant, so it runs before the template is saved. Threads: guest-init's
// only one, before the loop exists.
#pragma once

#include "guest-init/server/server.h"
#include "vmm/base/result.h"

namespace guest_init {

/// As PID 1 in the initramfs: mounts the kernel's filesystems on a root of our own, delegates the
/// cgroup controllers, brings the network devices up, opens the listeners. An Error names the step
/// that failed; the machine is of no use then.
base::Result<Machine> boot();

/// Enables every available controller for the cgroups below `root`, a cgroup2 directory.
base::Result<void> delegate_controllers(const std::string& root);

}  // namespace guest_init
