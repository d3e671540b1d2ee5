// The monitor's sandbox: what a guest that took over the monitor would find itself in. The layer
// tool has all of it but the filters (images/store/layers/sandbox.h), and the file server a filter
// of its own and the few capabilities over files that it works with. PROTECTIONS.md says what holds
// when, and tests compare it with what runs.
//
// Order: enter() is the first thing in main(), while the process has one thread and only the
// descriptors that it was given. Before the guest's first instruction each thread narrows its own
// system calls, the device thread last, because it starts the others.
// A system call that one of a thread's filters does not allow kills the process (SIGSYS), which the
// daemon sees. After an Error the process is narrowed in part and must end.
// Spec: seccomp(2), namespaces(7), capabilities(7).
#pragma once

#include <sys/resource.h>
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
  /// Whom to become. Without it the process stays who it is; the caller sees to it that this is not
  /// root.
  std::optional<Identity> identity;
  /// An empty network namespace to join. If this is no descriptor a new one is made, which costs
  /// more time than all the rest.
  base::UniqueFd network_namespace;
  /// Whether to make a user namespace as well, in which nobody is mapped. A process that is not
  /// root always makes one.
  bool own_user_namespace = false;
  /// The user namespace is one in which everybody is mapped to himself, and the process stays root
  /// there; needs root, and no identity. Its capabilities are good for files only then: the host's
  /// kernel asks for those of the first namespace where all of a host is concerned.
  bool map_everybody = false;
  /// The capabilities to keep (CAP_*), beside which the process can never have others.
  std::vector<int> capabilities;
  /// How many descriptors the process may have; 0: as many as it was allowed.
  rlim_t most_descriptors = 2048;
  /// The descriptors to keep, beside 0, 1, 2; all others are closed.
  std::vector<int> descriptors;
};

/// Gives the process new mount, IPC and UTS namespaces, an empty network namespace, an empty
/// read-only root and the given identity, and takes from it capabilities and every way to them, new
/// privileges, core dumps, ptrace and descriptors beyond their number. A running process cannot
/// enter a new PID namespace: whoever starts it gives it one (CLONE_NEWPID). Needs root, or a
/// kernel that lets anybody make user namespaces.
base::Result<void> confine(Settings settings);

/// Does the same, and then installs the filter that all threads of a monitor have.
base::Result<void> enter(Settings settings);

/// The following narrow the calling thread for good. PROTECTIONS.md lists what each may still call;
/// none can build a machine, start a thread or map a file any more. The first is for the device
/// thread of a clone, the second for that of a machine that a template is made of.
base::Result<void> restrict_device_thread();
base::Result<void> restrict_saving_device_thread();
base::Result<void> restrict_disk_thread();
base::Result<void> restrict_vcpu_thread();

/// The same for each thread of a file server, which all do the same (vmm/fileserver/server.h).
base::Result<void> restrict_file_server_thread();

}  // namespace sandbox
