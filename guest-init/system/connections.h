// What is asked of connected sockets, the host's and processes'.
#pragma once

namespace guest_init {

/// At the end of what came on `connection`: whether the other side has closed it, and did not only
/// half-close it.
bool was_closed(int connection);

}  // namespace guest_init
