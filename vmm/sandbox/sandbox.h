// The monitor's sandbox: what a guest that took over the monitor would find itself in. All of it
// but the filters is containervm-layer's, too (images/store/layers/sandbox.h). PROTECTIONS.md says
// what holds when, and is compared with what runs.
//
// Order: enter() first thing in main(), while the process has one thread and only the descriptors
// it was given; before the guest's first instruction each thread narrows its own system calls, the
// device thread last, as it starts the others.
// A system call that no filter knows kills the process (SIGSYS): the daemon sees that.
// Spec: seccomp(2), namespaces(7), capabilities(7).
#pragma once

#include <sys/types.h>

#include <optional>
#include <vector>

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace sandbox {

struct Identity {
  uid_t uid = 0;
  gid_t gid = 0;
};

struct Settings {
  /// Whom to become. Without it the process stays who it is (it must not be root then).
  std::optional<Identity> identity;
  /// An empty network namespace to join; making a new one costs more than all the rest. If not
  /// valid a new one is made.
  base::UniqueFd network_namespace;
  /// A user namespace as well, in which nobody is mapped: always for who is not root.
  bool own_user_namespace = false;
  /// The descriptors to keep, beside 0, 1, 2; all others are closed.
  std::vector<int> descriptors;
};

/// New mount, IPC and UTS namespaces, an empty network namespace; an empty read-only root; the
/// given identity, no capabilities and no way to any, no new privileges, no core dumps, no ptrace,
/// bounded descriptors. A PID namespace cannot be entered by a running process: whoever
/// starts the process gives it one (CLONE_NEWPID).
/// Needs root, or a kernel that lets anybody make user namespaces.
base::Result<void> confine(Settings settings);

/// The same, and a monitor's process filter.
base::Result<void> enter(Settings settings);

/// The following narrow the calling thread, for good; what the thread may still call is in
/// PROTECTIONS.md. The device thread of a clone, and of a machine that a template is made of. From
/// then on neither can build another machine, start a thread, map a file or take part in more than
/// it was given.
base::Result<void> restrict_device_thread();
base::Result<void> restrict_saving_device_thread();
base::Result<void> restrict_disk_thread();
base::Result<void> restrict_vcpu_thread();

}  // namespace sandbox
