// The files tool: reads and writes a container's files for the host, as `docker cp` and `docker
// export` ask for them. The contract is protocol/files.h.
//
// guest-init executes itself under this name, as root in the container's mount namespace (as its
// first process when the container does not run): the container's links lead to its own files
// only, and what the container can see and do does not grow.
#pragma once

namespace guest_init {

/// argv[0] that selects this role.
inline constexpr const char* kFilesToolName = "containervm-files";

/// `argv` is {kFilesToolName, COMMAND, ARGUMENTS...}: stat PATH, read PATH, export, or write PATH
/// KEEP-KIND USER GROUP. KEEP-KIND "1": a directory is not replaced by anything else, nor anything
/// else by a directory. USER, GROUP: the owner of all that is written; "-1": the entries' own.
/// Returns the exit code: 0 also after a Failed frame.
int run_files_tool(int argc, char** argv);

}  // namespace guest_init
