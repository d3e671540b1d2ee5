// Answers what the host asks about a running container: what it uses, and which processes it has.
//
// Both answers are read from cgroupfs and procfs; processes may come and go meanwhile.
#pragma once

#include <string>

#include "guest-init/container/cgroup.h"
#include "guest-init/protocol/messages.h"

namespace guest_init {

/// The answer, in which the caller sets `request`. A file that cannot be read is an empty text.
/// `network_files`: a /proc/net that shows the container's network.
protocol::Statistics read_statistics(const Cgroup& cgroup, const std::string& network_files);

/// The answer, in which the caller sets `request`: all processes of the cgroup and those below it,
/// by pid.
base::Result<protocol::ProcessList> list_processes(const Cgroup& cgroup);

}  // namespace guest_init
