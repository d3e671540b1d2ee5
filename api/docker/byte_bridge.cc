#include "api/docker/byte_bridge.h"

#include <sys/socket.h>

#include <array>
#include <boost/asio/write.hpp>
#include <vector>

namespace docker {

using base::Code;
using base::Error;
using base::Result;

namespace {

constexpr std::size_t kPumpBytes = 128u << 10;

}  // namespace

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

net::awaitable<Result<void>> pump_body(http::Exchange& exchange,
                                       net::local::stream_protocol::socket into,
                                       std::shared_ptr<std::atomic<bool>> whole) {
  std::vector<std::byte> buffer(kPumpBytes);
  bool wanted = true;
  while (true) {
    const auto got = co_await exchange.read_some(buffer);
    if (!got) co_return got.error();
    if (*got == 0) {
      if (whole) *whole = true;
      co_return Result<void>();
    }
    if (!wanted) continue;
    const auto [error, sent] =
        co_await net::async_write(into, net::buffer(buffer.data(), *got), async::kTuple);
    wanted = !error && sent == *got;
  }
}

net::awaitable<Result<void>> pump_response(net::local::stream_protocol::socket from,
                                           http::Exchange& exchange) {
  std::vector<std::byte> buffer(kPumpBytes);
  while (true) {
    const auto [error, got] =
        co_await from.async_read_some(net::buffer(buffer.data(), buffer.size()), async::kTuple);
    if (error || got == 0) co_return Result<void>();
    const auto written = co_await exchange.write(std::span<const std::byte>(buffer).first(got));
    if (!written) co_return written.error();
  }
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

}  // namespace docker
