// HostListener: accepts the host's connections at one port and reads the first frame of each, which
// says what the connection is for. Runs on the loop's thread; the loop outlives it.
//
// Trust: processes of the guest can connect as well. A connection that is not the host's is closed
// before a byte of it is read. The log has at most one line a minute about them (SeldomLog).
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <functional>
#include <map>
#include <vector>

#include "guest-init/protocol/messages.h"
#include "guest-init/system/log.h"
#include "guest-init/system/poll_loop.h"
#include "vmm/base/unique_fd.h"

namespace guest_init {

/// Whether a connection's other end, as accept(2) tells it, is the host.
using PeerCheck = std::function<bool(const sockaddr_storage& peer)>;

/// For vsock sockets: the peer is CID 2, VMADDR_CID_HOST. The kernel fills that in; no process in
/// the guest can have this CID.
bool is_host(const sockaddr_storage& peer);

class HostListener {
 public:
  struct Port {
    base::UniqueFd socket;              // listens, non-blocking
    protocol::MessageType first_frame;  // the type that it must have
    /// How many connections may be waiting for their first frame; a further one is closed.
    std::size_t most_unnamed;
  };
  /// Called with each connection, which is non-blocking, and the payload of its first frame.
  /// Nothing behind that frame was read. It may not destroy the listener.
  using Handler =
      std::function<void(std::span<const std::byte> first_frame, base::UniqueFd connection)>;

  HostListener(PollLoop& loop, Port port, PeerCheck is_host, Handler handler)
      : loop_(loop),
        port_(std::move(port)),
        is_host_(std::move(is_host)),
        handler_(std::move(handler)) {}

  base::Result<void> start();

 private:
  struct Incoming {
    base::UniqueFd connection;
    std::vector<std::byte> received;
    PollLoop::Watch watch;
  };
  enum class Read { kMore, kWhole, kEnd };

  void accept_one();
  void on_readable(std::uint64_t key);
  Read read_frame(Incoming& incoming) const;
  static Read read_up_to(Incoming& incoming, std::size_t size);

  PollLoop& loop_;
  Port port_;
  PeerCheck is_host_;
  Handler handler_;
  SeldomLog strangers_;
  std::map<std::uint64_t, Incoming> incoming_;  // whose first frame is not complete
  std::uint64_t next_key_ = 0;
  PollLoop::Watch watch_;
};

}  // namespace guest_init
