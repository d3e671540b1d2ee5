// HostSockets: the places in containers where sockets of the host are (PrepareContainer::Socket).
//
// At each, guest-init listens. When a process connects, the host is told, connects to its own
// socket, and opens a connection for it (kSocketPort); from then on each side passes on what the
// other writes. Descriptors that processes send along stay behind.
// Threads: the loop's, which outlives it. Memory: kMostSocketConnections connections of the
// machine, with two buffers of ByteExchange each; while there are so many, no further one is
// accepted. Trust: processes of containers may connect as often as they like and write what they
// like. Who may connect is as for the host's socket: its owner and mode are on the file.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "guest-init/protocol/messages.h"
#include "guest-init/server/byte_exchange.h"
#include "guest-init/system/poll_loop.h"

namespace guest_init {

class HostSockets {
 public:
  using Tell = std::function<void(const protocol::SocketConnected&)>;

  /// `tell` is called for each connection of a process.
  HostSockets(PollLoop& loop, Tell tell) : loop_(loop), tell_(std::move(tell)) {}

  /// Listens for the container's processes at a file for each of `sockets` in `directory`, which is
  /// made; their names are their numbers.
  base::Result<void> listen(std::uint32_t container, const std::string& directory,
                            const std::vector<protocol::PrepareContainer::Socket>& sockets);
  /// Ends what listen() began, and the connections of the container.
  void forget(std::uint32_t container);

  /// The host is new, or has lost its connection: tells it again of all that waits for it.
  void tell_again();
  /// The host's connection for one of a process; closed if that does not wait for it any more.
  void open(const protocol::SocketOpen& request, base::UniqueFd connection);
  void refuse(const protocol::SocketRefused& refused) { end(refused.connection); }

 private:
  struct Listener {
    std::uint32_t container = 0;
    std::uint32_t number = 0;
    base::UniqueFd socket;
    PollLoop::Watch watch;
  };
  struct Connection {
    protocol::SocketConnected told;
    base::UniqueFd process;  // until the host's is there
    std::unique_ptr<ByteExchange> exchange;
  };

  base::Result<void> listen_at(int directory, std::uint32_t container,
                               const protocol::PrepareContainer::Socket& socket);
  void accept_one(const Listener& listener);
  void end(std::uint32_t connection);
  void watch_listeners();

  PollLoop& loop_;
  Tell tell_;
  std::vector<std::unique_ptr<Listener>> listeners_;
  std::map<std::uint32_t, Connection> connections_;
  std::uint32_t next_connection_ = 1;
};

}  // namespace guest_init
