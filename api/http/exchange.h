// Exchange: one request and the way to answer it piece by piece: uploads, progress, hijacked
// connections.
//
// Owned by the connection; valid until the handler's coroutine has ended. Threading: the io_context
// thread. Order: read the body (in part or whole), then exactly one of: respond(); begin_stream()
// and write()s; hijack() or accept_websocket(), and then read_some() and write() as often as
// needed.
//
// A client that disconnects cancels the handler (its next co_await throws), except after hijack()
// and accept_websocket(), where end of input means only that the client will send no more.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "api/async/net.h"
#include "api/http/client_id.h"
#include "api/http/message.h"
#include "vmm/base/result.h"

namespace http {

class Exchange {
 public:
  virtual ~Exchange() = default;

  /// The request without its body. The Router fills in path_args.
  virtual Request& request() = 0;

  /// The client that sent the request, for fairness among clients only.
  virtual ClientId client() const { return {}; }

  /// Body bytes, as they come; 0 at the body's end; kDeadlineExceeded when they do not come. After
  /// hijack(): raw bytes; 0 when the client has closed its sending side. kUnavailable when the
  /// connection broke.
  virtual net::awaitable<base::Result<std::size_t>> read_some(std::span<std::byte> out) = 0;

  /// Sends the whole answer.
  virtual net::awaitable<base::Result<void>> respond(Response response) = 0;

  /// Sends status and headers at once; the body follows by write() and ends with the handler.
  /// `head.body` is sent first.
  virtual net::awaitable<base::Result<void>> begin_stream(Response head) = 0;

  /// From here on the end of the client's input means that the client has left. Call it for an
  /// answer that may take for ever to come: over TCP, and over a relay, a client that has gone
  /// looks like one that has only closed its sending side.
  virtual void end_with_input() = 0;

  /// Takes over the connection, once the rest of the body has been read and dropped (an Error, with
  /// nothing sent, if that does not come or is too large). The answer is 101 with Upgrade headers
  /// and `content_type` if the client asked for an upgrade; else 200 with Docker's raw-stream as
  /// its type. Everything that is written from here on is raw. The connection closes when the
  /// handler ends.
  virtual net::awaitable<base::Result<void>> hijack(std::string content_type) = 0;

  /// Takes over the connection as a websocket: from here on read_some() gives the bytes of the
  /// client's messages, write() sends one message, and the end of the handler closes it in order.
  /// `binary`: what is sent is binary messages, else text. The client's close is kUnavailable in
  /// read_some(). kInvalidArgument, with nothing sent, if the client did not ask for a websocket.
  virtual net::awaitable<base::Result<void>> accept_websocket(bool binary) = 0;

  /// Sends `head` and then `bytes`, as one piece. Both stay valid until this completes, which is
  /// when the kernel took all of them; that is the backpressure. kUnavailable when the client is
  /// gone.
  virtual net::awaitable<base::Result<void>> write(std::span<const std::byte> head,
                                                   std::span<const std::byte> bytes) = 0;
  net::awaitable<base::Result<void>> write(std::span<const std::byte> bytes) {
    return write({}, bytes);
  }

  /// The streamed answer cannot be finished: the connection closes in the middle of it, so that the
  /// client does not take it for whole. The handler ends after this.
  virtual void break_off() = 0;

  /// Completes when the client has closed the connection in both directions (for hijacked ones), or
  /// the websocket; nobody else reads meanwhile.
  virtual net::awaitable<void> peer_gone() = 0;

  /// Whether status and headers have been sent: too late for another status.
  virtual bool answered() const = 0;

  /// The whole body; kResourceExhausted if it is longer than `limit`.
  net::awaitable<base::Result<std::string>> read_body(std::size_t limit);
  net::awaitable<base::Result<void>> write(std::string_view text);
};

}  // namespace http
