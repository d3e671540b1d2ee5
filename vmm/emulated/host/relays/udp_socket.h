// UDP sockets of this host that answer from the address that was asked.
//
// Threads: any; nothing blocks.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <span>

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"
#include "vmm/emulated/host/relays/listed_port.h"

namespace emulated {

/// Who asks, and which address of this host; in network byte order.
struct Flow {
  std::uint32_t peer = 0;
  std::uint16_t peer_port = 0;
  std::uint32_t asked = 0;
  friend auto operator<=>(const Flow&, const Flow&) = default;
};

/// A socket at the port's address. Nobody else on this host has that port, and nobody can join it.
base::Result<base::UniqueFd> bind_udp(const ListedPort& port);

struct Received {
  Flow flow;
  std::size_t size = 0;
};
/// The next datagram; nullopt if none is there. `buffer` has room for the longest.
std::optional<Received> receive_datagram(int socket, std::span<std::byte> buffer);

/// Sends `datagram` to the flow's peer, or loses it.
void send_answer(int socket, const Flow& flow, std::span<const std::byte> datagram);

}  // namespace emulated
