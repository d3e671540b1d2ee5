// Opens connections from the host to the agent of a running emulated machine.
//
// Threads: any; the calls block.
#pragma once

#include <filesystem>

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"
#include "vmm/emulated/link/channel.h"
#include "vmm/emulated/link/messages.h"

namespace emulated {

/// Where a machine's agent can be reached on this host, and the token that it wants. Both are files
/// (0600) in the machine's directory: `port` (decimal) and `token` (32 bytes).
struct Endpoint {
  std::uint16_t port = 0;
  std::array<std::byte, kTokenSize> token{};
};

/// Reads both files. kUnavailable, with a sentence that says what to do, if no machine runs there.
base::Result<Endpoint> read_endpoint(const std::filesystem::path& machine_directory);

/// Connects, sends the token and `request` (a framed message), and returns the socket when the
/// agent has said Ready. If the agent refuses, the Error is the agent's own.
base::Result<base::UniqueFd> open_connection(const Endpoint& endpoint, const wire::Bytes& request,
                                             Deadline deadline);

}  // namespace emulated
