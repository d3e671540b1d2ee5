// The sockets in a machine's run directory, on which its processes listen for the daemon.
//
// They are reached through /proc, so that the length of the directory's path does not matter.
// Threads: any; blocks shortly.
#pragma once

#include <filesystem>
#include <string>

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace engine {

inline constexpr const char* kMonitorSocket = "control.sock";
inline constexpr const char* kFileServerSocket = "files.sock";

/// A SOCK_SEQPACKET socket that listens as `name` in `directory`.
base::Result<base::UniqueFd> listen_in(const std::filesystem::path& directory,
                                       const std::string& name);

/// A non-blocking connection to it.
base::Result<base::UniqueFd> connect_in(const std::filesystem::path& directory,
                                        const std::string& name);

}  // namespace engine
