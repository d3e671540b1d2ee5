// relay_bytes(): carries bytes both ways between two stream sockets.
#pragma once

#include "vmm/base/unique_fd.h"

namespace emulated {

/// Blocks the calling thread. The end of one direction is passed on as a half-close; the other
/// direction goes on. A full receiver slows its sender: at most 64 KiB wait in each direction.
/// Returns when both directions ended or either socket failed.
void relay_bytes(base::UniqueFd left, base::UniqueFd right);

}  // namespace emulated
