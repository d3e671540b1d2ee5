// NameRelay: the resolver at 127.0.0.11, which passes each question on to the host.
//
// It looks into no message: what is asked, and what is answered, is between the process and the
// host. Threads: the loop's, which outlives it. Memory: kMostPending questions, kMostStreams
// connections; a further one takes the place of the oldest. Trust: processes of containers may send
// anything, as often as they like: a turn of the loop takes kQuestionsAtOnce of them.
#pragma once

#include <netinet/in.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "guest-init/protocol/messages.h"
#include "guest-init/system/poll_loop.h"
#include "guest-init/system/resolver_sockets.h"

namespace guest_init {

class NameRelay {
 public:
  static constexpr std::size_t kMostPending = 256;
  static constexpr std::size_t kMostStreams = 32;
  static constexpr int kQuestionsAtOnce = 32;

  using Ask = std::function<void(const protocol::NameQuery&)>;

  /// `ask` is called for each question, and never again once the relay is destroyed.
  static base::Result<std::unique_ptr<NameRelay>> start(PollLoop& loop, ResolverSockets sockets,
                                                        Ask ask);

  /// Gives the answer to whoever asked, if it is still waited for.
  void answer(const protocol::NameAnswer& answer);

 private:
  /// A connection of TCP: messages with their length in front (RFC 1035, 4.2.2).
  struct Stream {
    base::UniqueFd socket;
    PollLoop::Watch watch;
    std::vector<std::byte> received;
  };
  struct Asker {
    sockaddr_in address{};     // of a datagram
    std::uint32_t stream = 0;  // of a connection; 0: it was a datagram
  };

  NameRelay(PollLoop& loop, ResolverSockets sockets, Ask ask)
      : loop_(loop), sockets_(std::move(sockets)), ask_(std::move(ask)) {}

  void on_datagrams();
  void on_connections();
  void on_stream(std::uint32_t number);
  void ask(const Asker& asker, std::span<const std::byte> message);
  static void answer_stream(Stream& stream, const wire::Bytes& message);

  PollLoop& loop_;
  ResolverSockets sockets_;
  Ask ask_;
  PollLoop::Watch datagrams_watch_;
  PollLoop::Watch listener_watch_;
  std::uint32_t next_query_ = 1;
  std::map<std::uint32_t, Asker> pending_;  // the oldest first
  std::uint32_t next_stream_ = 1;
  std::map<std::uint32_t, Stream> streams_;  // the oldest first
};

}  // namespace guest_init
