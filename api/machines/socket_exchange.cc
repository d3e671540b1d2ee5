#include "api/machines/socket_exchange.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/write.hpp>
#include <vector>

#include "api/async/read_available.h"
#include "api/async/readiness.h"

namespace engine {

net::awaitable<void> SocketExchange::run(net::any_io_executor executor, StreamSocket guest,
                                         StreamSocket host) {
  const std::shared_ptr<SocketExchange> exchange(
      new SocketExchange(executor, std::move(guest), std::move(host)));
  net::co_spawn(executor, pass_on(exchange, exchange->guest_, exchange->host_), net::detached);
  net::co_spawn(executor, pass_on(exchange, exchange->host_, exchange->guest_), net::detached);
  co_await exchange->over_.wait();
}

/// One direction, to its end. Whoever has closed its side, instead of half-closing it, reads no
/// more: then the other direction is over as well.
net::awaitable<void> SocketExchange::pass_on(std::shared_ptr<SocketExchange> self,
                                             StreamSocket& from, StreamSocket& to) {
  for (;;) {
    const std::vector<std::byte> bytes = co_await async::read_available(from, kPieceBytes);
    if (bytes.empty()) break;
    const auto [error, written] = co_await net::async_write(to, net::buffer(bytes), async::kTuple);
    if (error) co_return self->close();
  }
  boost::system::error_code ignored;  // one that is closed already
  to.shutdown(StreamSocket::shutdown_send, ignored);
  if (++self->ways_over_ == 2) co_return self->close();
  const auto closed = co_await async::wait_until_ready(from, StreamSocket::wait_error);
  if (!closed) self->close();
}

void SocketExchange::close() {
  boost::system::error_code ignored;
  guest_.close(ignored);
  host_.close(ignored);
  over_.set();
}

}  // namespace engine
