#include "api/engine/files/byte_bridge.h"

#include <sys/socket.h>

#include <array>
#include <boost/asio/write.hpp>

namespace engine {

using base::Code;
using base::Error;
using base::Result;

Result<ByteBridge> ByteBridge::make(const net::any_io_executor& executor) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) < 0)
    return base::errno_error("socketpair");
  base::UniqueFd first(ends[0]);
  base::UniqueFd second(ends[1]);
  net::local::stream_protocol::socket socket(executor);
  boost::system::error_code error;
  socket.assign(net::local::stream_protocol(), first.get(), error);
  if (error) return Error{Code::kInternal, "socketpair: " + error.message()};
  first.release();
  return ByteBridge{std::move(socket), std::move(second)};
}

Result<void> BridgeSink::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return base::errno_error("send");
    bytes = bytes.subspan(static_cast<std::size_t>(sent));
  }
  return {};
}

Result<std::size_t> WholeSource::read(std::span<std::byte> out) {
  auto got = socket_.read(out);
  if (stop_.stop_requested()) return Error{Code::kUnavailable, otherwise_};
  if (got && *got == 0 && !whole_) return Error{Code::kUnavailable, otherwise_};
  return got;
}

net::awaitable<void> pump_frames(net::local::stream_protocol::socket from,
                                 std::shared_ptr<async::BytePipe> into) {
  for (;;) {
    async::BytePipe::Piece piece(64u << 10);
    const auto [error, size] =
        co_await from.async_read_some(net::buffer(piece.data(), piece.size()), async::kTuple);
    if (error || size == 0) break;
    piece.resize(size);
    const bool wanted = co_await into->put(std::move(piece));
    if (!wanted) break;
  }
  into->finish();
}

}  // namespace engine
