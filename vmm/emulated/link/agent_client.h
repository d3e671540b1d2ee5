// The host's way to the agent of a running emulated machine.
#pragma once

#include <filesystem>

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"
#include "vmm/emulated/link/channel.h"
#include "vmm/emulated/link/messages.h"

namespace emulated {

/// Where a machine's agent listens on this host, and what opens it. Both live as files (0600) in
/// the machine's directory: `token` (32 bytes) and `port` (decimal).
struct Endpoint {
  std::uint16_t port = 0;
  std::array<std::byte, kTokenSize> token{};
};

/// kUnavailable, with a sentence that says what to do, if no machine is up there.
base::Result<Endpoint> read_endpoint(const std::filesystem::path& machine_directory);

/// A connected socket on which the agent has said Ready to `request` (a framed message). The error
/// is the agent's own if it refused.
base::Result<base::UniqueFd> open_connection(const Endpoint& endpoint, const wire::Bytes& request,
                                             Deadline deadline);

}  // namespace emulated
