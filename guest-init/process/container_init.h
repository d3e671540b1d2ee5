// The PID 1 of a container that was started with --init: it runs the command as its child, passes
// signals on to it, reaps what is orphaned to it, and ends as the command ended.
//
// guest-init executes itself under this name; nothing of the real guest-init is in its memory then.
#pragma once

namespace guest_init {

/// argv[0] that selects this role: what Docker's own init is called there.
inline constexpr const char* kContainerInitName = "/sbin/docker-init";

/// `argv` is {kContainerInitName, "--", COMMAND, ARGUMENTS...}. Returns the exit code.
int run_container_init(int argc, char** argv);

}  // namespace guest_init
