// Connection: serves the requests of one client connection, one after another (RFC 9112).
//
// Owned by the Server, which keeps it until serve() has ended. Threading: the io_context thread.
// Limits: a head of at most kMaxHead bytes, arriving within kHeadTimeout of its first byte; bodies
// are read by handlers piece by piece, so their size is the handler's business.
// Trust: every byte read is chosen by the client; a malformed request gets 400 and the connection
// closes.
#pragma once

#include <boost/asio/generic/stream_protocol.hpp>
#include <chrono>
#include <memory>
#include <string>

#include "api/async/net.h"
#include "api/http/router.h"

namespace http {

using StreamSocket = net::generic::stream_protocol::socket;

inline constexpr std::size_t kMaxHead = 128u << 10;
inline constexpr std::chrono::seconds kHeadTimeout{30};

/// Serves `socket` until the client or a protocol error ends it. `fixed_headers` (complete lines,
/// each with its "\r\n") go into every response. Never throws. `router` must outlive it.
net::awaitable<void> serve_connection(StreamSocket socket, const Router& router,
                                      std::string fixed_headers);

}  // namespace http
