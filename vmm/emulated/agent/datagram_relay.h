// relay_datagrams(): the agent's side of an OpenUdp connection (link/messages.h).
#pragma once

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace emulated {

/// Blocks the calling thread. Sends what the host sends from `target`, a connected UDP socket, and
/// the host what arrives there. Datagrams that cannot be sent are lost, as on any network: a
/// refusal, too, ends nothing. A host that does not read slows nothing but the answers, which the
/// kernel then drops. Returns when the host closes; kDataLoss if it breaks the protocol.
base::Result<void> relay_datagrams(base::UniqueFd host, base::UniqueFd target);

}  // namespace emulated
