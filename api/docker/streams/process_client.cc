#include "api/docker/streams/process_client.h"

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <span>
#include <utility>
#include <variant>
#include <vector>

#include "api/docker/streams/stream_frame.h"

namespace docker {

using http::Exchange;
using namespace net::experimental::awaitable_operators;  // NOLINT: operator|| only

namespace {

/// Sends the output as it comes. True when the process has ended and all was sent; false when the
/// client takes no more.
net::awaitable<bool> send_output(Exchange& exchange, engine::Attachment& attachment, bool raw) {
  for (;;) {
    const std::optional<engine::OutputChunk> chunk = co_await attachment.next();
    if (!chunk) co_return true;
    const FrameHeader header(chunk->stream, chunk->bytes.size());
    const auto written = co_await exchange.write(header.bytes(raw), chunk->bytes);
    if (!written) co_return false;
  }
}

/// For a client that sends input, too: completes when the process has ended, and not before.
/// Whoever forwards the input knows when the client has gone.
net::awaitable<void> send_output_beside_input(Exchange& exchange, ProcessClient& client) {
  bool ended = false;
  if (client.hangup) {
    const auto first =
        co_await (send_output(exchange, *client.output, client.raw) || exchange.peer_gone());
    ended = first.index() == 0 && std::get<0>(first);
  } else {
    ended = co_await send_output(exchange, *client.output, client.raw);
  }
  if (ended) co_return;
  client.output.reset();
  co_await client.process->wait_over();
}

/// The client's input to the process, all that it sent, also if it has gone meanwhile. One that
/// closed its input, or ended, does not end the attachment.
net::awaitable<void> forward_input(Exchange& exchange, engine::ProcessPtr process,
                                   ProcessClient::Input input) {
  std::vector<std::byte> piece(32u << 10);
  bool gone = false;
  for (;;) {
    const auto size = co_await exchange.read_some(piece);
    gone = !size;
    if (gone || *size == 0) break;
    const std::span<const std::byte> bytes = std::span<const std::byte>(piece).first(*size);
    DetachKeys::Scan scan{.pass = {}, .detach = false};
    if (process->tty()) {
      scan = input.detach_keys.scan(bytes);
    } else {
      scan.pass.assign(bytes.begin(), bytes.end());
    }
    const bool runs = co_await process->wait_begun();
    if (runs && !scan.pass.empty()) {
      [[maybe_unused]] const auto written = co_await process->write_stdin(std::move(scan.pass));
    }
    if (!scan.detach) continue;
    if (input.detached) input.detached();
    co_return;
  }
  if (input.at_end == InputEnd::kDetaches) co_return;
  if (input.at_end == InputEnd::kClosesStdin) {
    co_await process->wait_begun();
    process->close_stdin();
  }
  if (!gone) co_await exchange.peer_gone();
}

}  // namespace

net::awaitable<void> serve_process(Exchange& exchange, ProcessClient client) {
  if (client.input) {
    co_await (send_output_beside_input(exchange, client) ||
              forward_input(exchange, client.process, *std::move(client.input)));
  } else {
    co_await (send_output(exchange, *client.output, client.raw) || exchange.peer_gone());
  }
}

}  // namespace docker
