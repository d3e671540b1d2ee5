// Runs one StartExec request inside the emulated machine and speaks its connection to the end.
#pragma once

#include "vmm/base/unique_fd.h"
#include "vmm/emulated/link/messages.h"

namespace emulated {

/// Starts the process in a session of its own and returns when it has exited and its output is
/// sent, or when the connection is lost: then its process group is killed (TERM, two seconds later
/// KILL). What background children write after the process exited is not waited for. Threading:
/// blocks the calling process, which must have no other children. A process that cannot be started
/// is answered with Refused (kNotFound, kPermissionDenied: argv[0]).
void serve_exec(base::UniqueFd socket, const StartExec& request);

}  // namespace emulated
