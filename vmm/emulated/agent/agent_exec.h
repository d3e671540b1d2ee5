// serve_exec(): runs the process of one StartExec request inside the emulated machine and speaks
// its connection to the end.
#pragma once

#include "vmm/base/unique_fd.h"
#include "vmm/emulated/link/messages.h"

namespace emulated {

/// Starts the process in a session of its own and returns when it has exited and its output is
/// sent, or when the connection is lost; in that case its process group is killed (TERM, at most
/// two seconds later KILL). What background children write after the process exited is not waited
/// for. Threading: blocks the calling process, which must have no other children. If the process
/// cannot be started the answer is Refused, with the code of why (kNotFound, kPermissionDenied) and
/// what it was about: argv[0] or the directory.
void serve_exec(base::UniqueFd socket, const StartExec& request);

}  // namespace emulated
