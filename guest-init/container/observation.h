// What the host asks about a running container: what it uses, and which processes it has.
//
// Both are snapshots, read from cgroupfs and procfs; processes may come and go meanwhile.
#pragma once

#include "guest-init/container/cgroup.h"
#include "guest-init/protocol/messages.h"

namespace guest_init {

/// Without `request`. A file that cannot be read is an empty text.
protocol::Statistics read_statistics(const Cgroup& cgroup);

/// Without `request`. Everything in the cgroup and those below it, by pid.
base::Result<protocol::ProcessList> list_processes(const Cgroup& cgroup);

}  // namespace guest_init
