// serve_connection(): the agent's side of one connection, from the token to the end
// (link/messages.h).
#pragma once

#include <array>
#include <functional>

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"
#include "vmm/emulated/link/messages.h"

namespace emulated {

using Token = std::array<std::byte, kTokenSize>;

/// Serves the connection and returns when it is over. Called in a process of its own, which has no
/// children. A peer that does not present `token` gets no answer (kPermissionDenied); one
/// whose request is not complete after 10 seconds is left too (kDeadlineExceeded). `power_off` is
/// called for PowerOff, after the answer.
base::Result<void> serve_connection(base::UniqueFd socket, const Token& token,
                                    const std::function<void()>& power_off);

}  // namespace emulated
