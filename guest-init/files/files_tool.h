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

/// The environment variable with the descriptors of the container's own directories, by commas: its
/// writable one, then its layers, highest first (ContainerFilesystem::directories()).
inline constexpr const char* kFilesToolDirectories = "CONTAINERVM_DIRECTORIES";

/// `argv` is {kFilesToolName, COMMAND, ARGUMENTS...}: stat PATH, read PATH, export, changes
/// VOLUME..., layer VOLUME..., build, or write PATH KEEP-KIND OWNER. KEEP-KIND "1": a directory is
/// not replaced by anything else, nor anything else by a directory. OWNER: of all that is written,
/// as for --user ("web:33"), looked up in the container; "": the entries' own. Returns the exit
/// code: 0 also after a Failed frame.
int run_files_tool(int argc, char** argv);

}  // namespace guest_init
