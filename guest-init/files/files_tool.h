// The files tool: reads and writes a container's files for the host, as `docker cp` and `docker
// export` ask for them. The contract is protocol/files.h.
//
// guest-init executes itself under the name below, as root in the container's mount namespace; if
// the container does not run, as its first process. So the container's links lead only to its own
// files, and the container can see and do no more than before.
#pragma once

namespace guest_init {

/// argv[0] that selects this role.
inline constexpr const char* kFilesToolName = "containervm-files";

/// The environment variable with the numbers of the descriptors that the tool inherits, separated
/// by commas: ContainerFilesystem::directories().
inline constexpr const char* kFilesToolDirectories = "CONTAINERVM_DIRECTORIES";

/// `argv` is {kFilesToolName, COMMAND, ARGUMENTS...}: stat PATH, read PATH, export, changes
/// VOLUME..., layer VOLUME..., build, or write PATH KEEP-KIND OWNER. KEEP-KIND "1": a directory is
/// not replaced by anything else, nor anything else by a directory. OWNER: of all that is written,
/// as for --user ("web:33"), looked up in the container; "": the entries' own. Returns the exit
/// code: 0 also after a Failed frame.
int run_files_tool(int argc, char** argv);

}  // namespace guest_init
