// Client-controlled bytes: a whole connection, with websocket frames and hijacked streams, from its
// first byte to the client's end. Built with gcc only, as the coroutines of Asio are.
//
// The first byte of an input says what the others are: the connection's bytes as they are,
// fragments of requests, each byte one of them, or frames after a websocket's handshake.
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "api/http/connection.h"
#include "vmm/base/seqpacket.h"

namespace http {
namespace {

net::awaitable<Response> answer(Request request) {
  const auto value = request.json();
  if (!value) co_return error_response(value.error());
  co_return text(Status::kOk, request.body);
}

net::awaitable<void> echo(Exchange& exchange) {
  std::vector<std::byte> piece(64);
  for (;;) {
    const auto size = co_await exchange.read_some(piece);
    if (!size || *size == 0) co_return;
    const auto written = co_await exchange.write(std::span<const std::byte>(piece).first(*size));
    if (!written) co_return;
  }
}

net::awaitable<void> stream(Exchange& exchange) {
  Response head{.content_type = "text/plain"};
  const auto begun = co_await exchange.begin_stream(std::move(head));
  if (begun) co_await echo(exchange);
}

net::awaitable<void> hijacked(Exchange& exchange) {
  const auto taken = co_await exchange.hijack("application/vnd.docker.raw-stream");
  if (taken) co_return co_await echo(exchange);
  Response refusal = body_error_response(taken.error());
  co_await exchange.respond(std::move(refusal));
}

net::awaitable<void> websocket(Exchange& exchange) {
  const auto accepted = co_await exchange.accept_websocket(true);
  if (accepted) co_return co_await echo(exchange);
  Response refusal = error_response(accepted.error());
  if (!exchange.answered()) co_await exchange.respond(std::move(refusal));
}

const Router& router() {
  static const Router* const filled = [] {
    auto* const made = new Router;
    made->add("POST", "/a", answer);
    made->add("POST", "/d", answer, Router::Body::kDropped);
    made->add_stream("POST", "/s", stream);
    made->add_stream("POST", "/h", hijacked);
    made->add_stream("GET", "/w", websocket);
    return made;
  }();
  return *filled;
}

constexpr std::string_view kHandshake =
    "GET /w HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

constexpr auto kFragments =
    std::to_array<std::string_view>({"POST /a HTTP/1.1\r\n",
                                     "POST /s HTTP/1.1\r\n",
                                     "POST /h HTTP/1.1\r\n",
                                     "POST /d HTTP/1.1\r\n",
                                     "GET /w HTTP/1.1\r\n",
                                     "POST /v1.41/a?x=1 HTTP/1.0\r\n",
                                     "HEAD /a HTTP/1.1\r\n",
                                     kHandshake,
                                     "Content-Length: ",
                                     "Content-Length: 2\r\n",
                                     "Transfer-Encoding: chunked\r\n",
                                     "Transfer-Encoding: gzip\r\n",
                                     "Transfer-Encoding: ",
                                     "Content-Type: application/json\r\n",
                                     "Connection: Upgrade\r\nUpgrade: tcp\r\n",
                                     "Connection: close\r\n",
                                     "Connection: keep-alive\r\n",
                                     "Expect: 100-continue\r\n",
                                     "Sec-WebSocket-Key: x\r\n",
                                     "Sec-WebSocket-Version: 13\r\n",
                                     "Upgrade: websocket\r\n",
                                     "X: y\r\n",
                                     " folded\r\n",
                                     "\r\n",
                                     "\r\n",
                                     "\r\n\r\n",
                                     "{}",
                                     "[1,2]",
                                     "0\r\n\r\n",
                                     "0\r\n",
                                     "2\r\n{}\r\n",
                                     "5;a=b\r\nhello\r\n",
                                     "ffffffffffffffff\r\n",
                                     "fffffffffffffffff\r\n",
                                     "-1\r\n",
                                     "18446744073709551616\r\n",
                                     "7\r\n",
                                     "4096\r\n",
                                     " ",
                                     ":",
                                     ",",
                                     "0",
                                     "1",
                                     "\n",
                                     "\r",
                                     "%zz",
                                     "/v1.99/a",
                                     std::string_view("\0", 1),
                                     "\x80",
                                     "chunked"});

std::string fragments(std::string_view input) {
  std::string text;
  for (const char c : input) text += kFragments[static_cast<unsigned char>(c) % kFragments.size()];
  return text;
}

/// Frames that are mostly sound: of an opcode, with FIN, masked, with the length of what they
/// carry.
std::string frames(std::string_view input) {
  std::string text(kHandshake);
  while (input.size() >= 3) {
    const auto first = static_cast<unsigned char>(input[0]);
    const auto odd = static_cast<unsigned char>(input[1]);
    const std::size_t size =
        std::min<std::size_t>(static_cast<unsigned char>(input[2]) % 126, input.size() - 3);
    text += static_cast<char>(odd % 8 == 0 ? first : first & 0x8f);
    text +=
        static_cast<char>((odd % 16 == 1 ? 0 : 0x80) | (odd % 32 == 2 ? 126 + odd / 128 : size));
    text += std::string(4, '\0');  // the mask
    text += input.substr(3, size);
    input.remove_prefix(3 + size);
  }
  return text;
}

void serve(std::string_view bytes) {
  auto pair = base::make_socket_pair(SOCK_STREAM);
  if (!pair) return;
  const base::UniqueFd client = std::move(pair->first);
  if (::send(client.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT) < 0 &&
      !bytes.empty())
    return;
  ::shutdown(client.get(), SHUT_WR);

  net::io_context io(1);
  StreamSocket socket(io);
  socket.assign(net::generic::stream_protocol(AF_UNIX, 0), pair->second.release());
  Activity activity;
  bool ended = false;
  ConnectionContext context{
      .router = router(), .fixed_headers = {}, .timeouts = {}, .client = {}, .activity = activity};
  net::co_spawn(io, serve_connection(std::move(socket), std::move(context)),
                [&](const std::exception_ptr& failure) {
                  if (failure) __builtin_trap();
                  ended = true;
                });
  std::string answers;
  std::array<char, 65536> piece{};
  while (!ended) {
    // The client has said everything: a connection that waits for more would hang for ever.
    if (io.run_one_for(std::chrono::seconds(20)) == 0) __builtin_trap();
    const ssize_t got = ::recv(client.get(), piece.data(), piece.size(), MSG_DONTWAIT);
    if (got > 0) answers.append(piece.data(), static_cast<std::size_t>(got));
  }
  if (!answers.empty() && !answers.starts_with("HTTP/1.1 ")) __builtin_trap();
}

}  // namespace
}  // namespace http

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 3) {
    case 0:
      http::serve(rest);
      break;
    case 1:
      http::serve(http::fragments(rest.substr(0, 128)));
      break;
    default:
      http::serve(http::frames(rest));
  }
  return 0;
}
