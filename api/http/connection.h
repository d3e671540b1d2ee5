// Connection: serves the requests of one client connection, one after another (RFC 9112).
//
// Owned by the Server, which keeps it until serve() has ended. Threading: the io_context thread.
// Limits: a head of at most kMaxHead bytes, arriving within Timeouts::head of its first byte;
// bodies are read by handlers piece by piece, so their size is the handler's business, and
// Timeouts::body is how long they may make no progress. Trust: every byte read is chosen by the
// client; a malformed request gets 400 and the connection closes.
#pragma once

#include <boost/asio/generic/stream_protocol.hpp>
#include <chrono>
#include <memory>
#include <string>

#include "api/async/net.h"
#include "api/http/clients.h"
#include "api/http/router.h"

namespace http {

using StreamSocket = net::generic::stream_protocol::socket;

inline constexpr std::size_t kMaxHead = 128u << 10;
/// The most of a body that a request may send before it hijacks the connection; it is dropped.
inline constexpr std::size_t kMaxSkippedBody = 4u << 20;

/// How long a client may keep the connection waiting.
struct Timeouts {
  std::chrono::milliseconds head = std::chrono::seconds(30);  // from a head's first byte to its end
  /// In each period of this length kBodyProgress bytes of a body must arrive, or its end. It is
  /// long, since a client may send what another program is still making, and a stalled upload holds
  /// no thread and little memory.
  std::chrono::milliseconds body = std::chrono::minutes(10);
  std::chrono::milliseconds skipped_body = std::chrono::seconds(30);  // one that nobody wants
  /// How long the client may take to read an answer of one piece, plus a second for each 64 KiB.
  std::chrono::milliseconds answer = std::chrono::seconds(60);
};
inline constexpr std::size_t kBodyProgress = 64u << 10;

/// What one connection works with. What it refers to outlives it.
struct ConnectionContext {
  const Router& router;
  std::string fixed_headers;  // complete lines, each with its "\r\n", for every response
  Timeouts timeouts;
  ClientId client;
  Activity& activity;  // kept up to date
};

/// Serves `socket` until the client or a protocol error ends it. Never throws.
net::awaitable<void> serve_connection(StreamSocket socket, ConnectionContext context);

}  // namespace http
