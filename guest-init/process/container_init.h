// run_container_init(): the PID 1 of a container that was started with --init. It runs the command
// as its child, passes signals on to the child, reaps orphans, and ends as the command ended.
//
// guest-init executes itself under the name below; that gives the role a memory of its own, with
// nothing of the real guest-init in it.
#pragma once

namespace guest_init {

/// argv[0] that selects this role: the path that Docker's own init has in a container.
inline constexpr const char* kContainerInitName = "/sbin/docker-init";

/// `argv` is {kContainerInitName, "--", COMMAND, ARGUMENTS...}. Returns the exit code.
int run_container_init(int argc, char** argv);

}  // namespace guest_init
