// Packets with file descriptors beside them, over AF_UNIX SOCK_SEQPACKET (unix(7), SCM_RIGHTS).
//
// Threads: any. Sockets are borrowed.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"
#include "vmm/base/wire.h"

namespace base {

struct Packet {
  std::vector<std::byte> bytes;  // empty: the peer closed the connection
  std::vector<UniqueFd> fds;     // O_CLOEXEC
};

/// Sends one packet. The descriptors are borrowed. kUnavailable if the peer is gone, or if the
/// socket is non-blocking and its buffer is full.
Result<void> send_packet(int socket, std::span<const std::byte> bytes,
                         std::span<const int> fds = {});

/// Receives one packet of at most `max_bytes` with at most `max_fds` descriptors. A packet that is
/// longer or carries more is kDataLoss, and its descriptors are closed. kUnavailable if the socket
/// is non-blocking and nothing waits.
Result<Packet> receive_packet(int socket, std::size_t max_bytes, std::size_t max_fds);

/// A connected pair of the given type (SOCK_STREAM or SOCK_SEQPACKET), both ends O_CLOEXEC.
struct SocketPair {
  UniqueFd first;
  UniqueFd second;
};
Result<SocketPair> make_socket_pair(int type);

/// One message as a packet: u16 type, payload.
template <typename M>
wire::Bytes packet_of(const M& message) {
  wire::Encoder encoder;
  encoder.put(static_cast<std::uint16_t>(M::kType));
  encoder.put(message);
  return std::move(encoder).take();
}

/// The reverse: cuts the type off; kDataLoss if the packet is shorter than that.
Result<wire::RawFrame> open_packet(std::span<const std::byte> bytes);

}  // namespace base
