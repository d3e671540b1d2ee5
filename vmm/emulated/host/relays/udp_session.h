// UdpSession: what one peer of a published UDP port exchanges with the machine, over one OpenUdp
// connection (link/messages.h).
//
// Threads: one; nothing blocks. Memory: at most DatagramQueue::kMost and two longest frames. Trust:
// the peer and the machine are hostile.
#pragma once

#include <functional>
#include <optional>
#include <span>

#include "vmm/emulated/host/relays/datagram_queue.h"
#include "vmm/emulated/link/channel.h"
#include "vmm/emulated/link/datagram_reader.h"

namespace emulated {

class UdpSession {
 public:
  /// Whether there is a connection. Before, datagrams only wait.
  bool open() const { return channel_.has_value(); }
  /// Takes over the connection, which the agent has answered with Ready.
  void attach(base::UniqueFd socket) { channel_.emplace(std::move(socket)); }
  /// Of the connection; only once it is open.
  int fd() const { return channel_->fd(); }
  bool wants_to_write() const { return open() && channel_->wants_to_write(); }

  /// A datagram of the peer's, which is lost where too many wait. flush() sends it.
  void push(std::span<const std::byte> datagram) { (void)queue_.push(datagram); }
  /// Sends what the window and the socket take. An Error is the end of the session.
  base::Result<void> flush();
  /// Reads once and hands the machine's datagrams to `answer`. An Error is the end of the session:
  /// kUnavailable if the agent closed it, kDataLoss if it broke the protocol.
  base::Result<void> receive(const std::function<void(std::span<const std::byte>)>& answer);

 private:
  base::Result<void> on_frame(const wire::RawFrame& frame,
                              const std::function<void(std::span<const std::byte>)>& answer);

  DatagramQueue queue_;
  DatagramReader reader_;
  std::optional<Channel> channel_;
};

}  // namespace emulated
