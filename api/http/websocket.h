// WebSocket: the server's side of a websocket over a connection's socket (RFC 6455).
//
// Owned by the connection; the socket outlives it. Threads: the io_context thread. One read and one
// write may be under way at a time.
// Trust: every frame is chosen by the client. A message is read piece by piece, whatever its
// frames; one of more than kMaxMessage bytes, an unmasked frame, a reserved bit or an unknown
// opcode closes the connection with the status code that says why. Pings are answered while
// somebody reads.
#pragma once

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/beast/http/message.hpp>
#include <memory>
#include <span>
#include <string>

#include "api/async/net.h"
#include "vmm/base/result.h"

namespace http {

class WebSocket {
 public:
  using Socket = boost::asio::generic::stream_protocol::socket;
  using RequestHead = boost::beast::http::request_header<>;

  static constexpr std::size_t kMaxMessage = 16u << 20;

  explicit WebSocket(Socket& socket);
  ~WebSocket();

  /// kInvalidArgument if `head` is no handshake of version 13.
  static base::Result<void> check(const RequestHead& head);

  /// Answers the handshake, which check() has passed. `binary`: write() sends binary messages, else
  /// text messages. `fixed_headers`: complete header lines for the answer.
  net::awaitable<base::Result<void>> accept(RequestHead head, bool binary,
                                            std::string fixed_headers);

  /// Bytes of messages, at least one. kUnavailable when the client has closed the websocket, broken
  /// the protocol or gone.
  net::awaitable<base::Result<std::size_t>> read_some(std::span<std::byte> out);

  /// Sends one message.
  net::awaitable<base::Result<void>> write(std::span<const std::byte> bytes);

  /// Sends a close frame, unless either side has ended already. Nothing may be read or written
  /// after it.
  net::awaitable<void> close();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace http
