#include "api/docker/streams/client_output.h"

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <utility>
#include <variant>
#include <vector>

#include "api/docker/streams/stream_frame.h"

namespace docker {

using http::Exchange;
using namespace net::experimental::awaitable_operators;  // NOLINT: operator|| only

net::awaitable<bool> send_output(Exchange& exchange, engine::Attachment& attachment, bool raw) {
  for (;;) {
    const std::optional<engine::OutputChunk> chunk = co_await attachment.next();
    if (!chunk) co_return true;
    const FrameHeader header(chunk->stream, chunk->bytes.size());
    const auto written = co_await exchange.write(header.bytes(raw), chunk->bytes);
    if (!written) co_return false;
  }
}

net::awaitable<void> send_output_beside_input(Exchange& exchange,
                                              std::unique_ptr<engine::Attachment> attachment,
                                              bool raw, bool hangup,
                                              net::awaitable<void> run_ended) {
  bool ended = false;
  if (hangup) {
    const auto first = co_await (send_output(exchange, *attachment, raw) || exchange.peer_gone());
    ended = first.index() == 0 && std::get<0>(first);
  } else {
    ended = co_await send_output(exchange, *attachment, raw);
  }
  if (ended) co_return;
  attachment.reset();
  co_await std::move(run_ended);
}

}  // namespace docker
