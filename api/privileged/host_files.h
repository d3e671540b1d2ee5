// Opens files and directories of the host for a machine's file server.
//
// What a server gets is a mount that is attached nowhere: nothing above the file or directory can
// be named from it, devices in it cannot be opened, and the kernel refuses what is refused to the
// container. Threads: any; blocks on the file system that the path is in.
// Errors: kNotFound "bind source path does not exist: /x", in Docker's words; kPermissionDenied;
// kNotSupported for what is neither a file nor a directory.
#pragma once

#include <string>
#include <vector>

#include "api/privileged/privileged_acts.h"
#include "vmm/base/result.h"

namespace engine::host_files {

/// Whether containers may have what is at `path`. `allowed`: the directories below which it must
/// be, after symbolic links were followed; empty: anywhere.
base::Result<void> check(const std::string& path, const std::vector<std::string>& allowed);

/// Opens it. See HostTree.
base::Result<base::UniqueFd> open(const HostTree& tree, const std::vector<std::string>& allowed);

}  // namespace engine::host_files
