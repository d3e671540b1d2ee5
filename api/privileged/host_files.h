// Opens files and directories of the host for a machine's file server, and connects to sockets of
// the host for processes of containers.
//
// What a server gets is a mount that is attached nowhere: nothing above the file or directory can
// be named from it, devices in it cannot be opened, and the kernel refuses what is refused to the
// container. Threads: any; blocks on the file system that the path is in.
// Errors: kNotFound "bind source path does not exist: /x", in Docker's words; kPermissionDenied;
// kNotSupported for what is none of a file, a directory and a socket; kUnavailable: nobody listens
// at the socket, or too many wait there already, or it is of another kind than stream sockets.
#pragma once

#include <string>
#include <vector>

#include "api/privileged/privileged_acts.h"
#include "vmm/base/result.h"

namespace engine::host_files {

/// What containers may have.
struct Access {
  /// The directories below which it must be, after symbolic links were followed; empty: anywhere.
  std::vector<std::string> directories = {};
  /// The socket of this daemon, which is what its names name, wherever it is; empty: these are like
  /// any other path.
  std::string own_socket = {};
  std::vector<std::string> own_names = {"/var/run/docker.sock", "/run/docker.sock"};
};

/// Whether containers may have what is at `path`, and what it is.
base::Result<HostFile> check(const std::string& path, const Access& access);

/// Opens it, unless it is a socket. See HostTree.
base::Result<base::UniqueFd> open(const HostTree& tree, const Access& access);

/// A non-blocking connection to the stream socket at `path`.
base::Result<base::UniqueFd> connect(const std::string& path, const Access& access);

}  // namespace engine::host_files
