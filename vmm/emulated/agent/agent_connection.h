// The agent's side of one connection, from the token to the end (link/messages.h).
#pragma once

#include <array>
#include <functional>

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"
#include "vmm/emulated/link/messages.h"

namespace emulated {

using Token = std::array<std::byte, kTokenSize>;

/// Blocks until the connection is over; called in a process of its own without children. Whoever
/// does not present `token` gets no answer: kPermissionDenied. `power_off` is called for PowerOff.
base::Result<void> serve_connection(base::UniqueFd socket, const Token& token,
                                    const std::function<void()>& power_off);

}  // namespace emulated
