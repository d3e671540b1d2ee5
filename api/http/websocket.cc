#include "api/http/websocket.h"

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/websocket/rfc6455.hpp>
#include <boost/beast/websocket/stream.hpp>
#include <chrono>

namespace http {

namespace beast = boost::beast;
using base::Code;
using base::Error;
using base::Result;

namespace {

constexpr std::chrono::seconds kHandshakeTimeout{10};

Error gone(const boost::system::error_code& error) {
  return Error{Code::kUnavailable, "websocket: " + error.message()};
}

/// The one subprotocol a client offers is taken, as by dockerd; of several none.
void take_subprotocol(const WebSocket::RequestHead& head,
                      beast::websocket::response_type& response) {
  const auto offered = head[beast::http::field::sec_websocket_protocol];
  if (offered.empty() || offered.find(',') != offered.npos) return;
  response.set(beast::http::field::sec_websocket_protocol, offered);
}

void add_lines(std::string_view lines, beast::websocket::response_type& response) {
  while (!lines.empty()) {
    const std::string_view line = lines.substr(0, lines.find("\r\n"));
    lines.remove_prefix(std::min(lines.size(), line.size() + 2));
    const std::size_t colon = line.find(": ");
    if (colon == std::string_view::npos) continue;
    const std::string_view name = line.substr(0, colon);
    const std::string_view value = line.substr(colon + 2);
    response.set(beast::string_view(name.data(), name.size()),
                 beast::string_view(value.data(), value.size()));
  }
}

}  // namespace

struct WebSocket::State {
  explicit State(Socket& socket) : stream(socket) {}

  beast::websocket::stream<Socket&> stream;
  bool ended = false;    // closed, or an error: nothing more can be said
  bool writing = false;  // stays so when a write was cancelled, perhaps in the middle of a frame
};

WebSocket::WebSocket(Socket& socket) : state_(std::make_unique<State>(socket)) {}

WebSocket::~WebSocket() = default;

Result<void> WebSocket::check(const RequestHead& head) {
  const beast::http::request<beast::http::empty_body> request(head);
  if (!beast::websocket::is_upgrade(request))
    return Error{Code::kInvalidArgument, "not websocket protocol"};
  if (head[beast::http::field::sec_websocket_key].empty())
    return Error{Code::kInvalidArgument, "missing Sec-WebSocket-Key"};
  if (head[beast::http::field::sec_websocket_version] != "13")
    return Error{Code::kInvalidArgument, "missing or bad WebSocket Version"};
  return {};
}

net::awaitable<Result<void>> WebSocket::accept(RequestHead head, bool binary,
                                               std::string fixed_headers) {
  auto& stream = state_->stream;
  beast::websocket::stream_base::timeout timeouts{};
  timeouts.handshake_timeout = kHandshakeTimeout;
  timeouts.idle_timeout = beast::websocket::stream_base::none();
  timeouts.keep_alive_pings = false;
  stream.set_option(timeouts);
  stream.set_option(beast::websocket::stream_base::decorator(
      [&head, fixed_headers](beast::websocket::response_type& response) {
        add_lines(fixed_headers, response);
        take_subprotocol(head, response);
      }));
  stream.read_message_max(kMaxMessage);
  stream.auto_fragment(false);
  stream.binary(binary);
  const beast::http::request<beast::http::empty_body> request(head);
  const auto [error] = co_await stream.async_accept(request, async::kTuple);
  state_->ended = static_cast<bool>(error);
  if (error) co_return gone(error);
  co_return Result<void>();
}

net::awaitable<Result<std::size_t>> WebSocket::read_some(std::span<std::byte> out) {
  for (;;) {
    const auto [error, size] =
        co_await state_->stream.async_read_some(net::buffer(out.data(), out.size()), async::kTuple);
    // A handler that stops waiting for input has not ended anything.
    if (error && error != net::error::operation_aborted) state_->ended = true;
    if (error) co_return gone(error);
    if (size > 0) co_return size;  // else: an empty message
  }
}

net::awaitable<Result<void>> WebSocket::write(std::span<const std::byte> bytes) {
  if (state_->ended) co_return Error{Code::kUnavailable, "websocket: closed"};
  state_->writing = true;
  const auto [error, size] =
      co_await state_->stream.async_write(net::buffer(bytes.data(), bytes.size()), async::kTuple);
  state_->writing = false;
  if (error) {
    state_->ended = true;
    co_return gone(error);
  }
  co_return Result<void>();
}

/// Written past Beast: a cancelled read, which is how attachments end, leaves its stream unusable.
net::awaitable<void> WebSocket::close() {
  if (state_->ended || state_->writing) co_return;
  state_->ended = true;
  constexpr std::array<unsigned char, 4> kNormalClose{0x88, 2, 0x03, 0xe8};  // status 1000
  [[maybe_unused]] const auto result = co_await net::async_write(
      state_->stream.next_layer(), net::buffer(kNormalClose), async::kTuple);
}

}  // namespace http
