// read_available: what can be read of a stream, in a buffer that is there only once there is
// something.
//
// Threads: that of the socket's executor.
#pragma once

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <cstddef>
#include <vector>

#include "api/async/net.h"

namespace async {

/// What can be read now, at most `most` bytes; waits until there is something. Holds no buffer
/// while it waits, so an idle stream costs no memory. Empty: the stream has ended. `socket` is
/// non-blocking, and one of Asio's stream sockets.
template <typename Socket>
net::awaitable<std::vector<std::byte>> read_available(Socket& socket, std::size_t most) {
  for (;;) {
    const auto [waited] = co_await socket.async_wait(Socket::wait_read, kTuple);
    if (waited) co_return std::vector<std::byte>();
    boost::system::error_code error;
    // As large as what there is: who keeps the buffer counts its bytes. One byte where there is
    // nothing, which tells the end from an event of what was read already.
    std::vector<std::byte> bytes(std::clamp<std::size_t>(socket.available(error), 1, most));
    bytes.resize(socket.read_some(net::buffer(bytes), error));
    if (error != net::error::would_block) co_return bytes;
  }
}

}  // namespace async
