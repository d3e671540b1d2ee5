// SocketExchange: passes on what a process of a guest and a socket of the host write to each other,
// with half-closes and ends.
//
// Threads: the io_context thread. Memory: one buffer of kPieceBytes for each direction whose reader
// is slow. Trust: both sides may write what they like, or nothing, or never read.
#pragma once

#include <cstddef>
#include <memory>

#include "api/async/latch.h"
#include "api/machines/monitor/guest_session.h"

namespace engine {

class SocketExchange : public std::enable_shared_from_this<SocketExchange> {
 public:
  static constexpr std::size_t kPieceBytes = 16u << 10;

  /// Completes when nothing more can be passed on; both are closed then. Both are non-blocking.
  static net::awaitable<void> run(net::any_io_executor executor, StreamSocket guest,
                                  StreamSocket host);

 private:
  SocketExchange(net::any_io_executor executor, StreamSocket guest, StreamSocket host)
      : over_(executor), guest_(std::move(guest)), host_(std::move(host)) {}

  static net::awaitable<void> pass_on(std::shared_ptr<SocketExchange> self, StreamSocket& from,
                                      StreamSocket& to);
  void close();

  async::Latch over_;
  int ways_over_ = 0;
  StreamSocket guest_;
  StreamSocket host_;
};

}  // namespace engine
