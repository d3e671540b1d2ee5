// The header of every virtio-vsock packet (virtio 1.2, 5.10.6), little endian, no padding.
#pragma once

#include <cstdint>

namespace devices {

struct [[gnu::packed]] VsockHeader {
  std::uint64_t source_cid = 0;
  std::uint64_t destination_cid = 0;
  std::uint32_t source_port = 0;
  std::uint32_t destination_port = 0;
  std::uint32_t length = 0;  // bytes that follow
  std::uint16_t type = 1;    // stream
  std::uint16_t operation = 0;
  std::uint32_t flags = 0;
  std::uint32_t buffer_size = 0;      // the sender's receive buffer
  std::uint32_t forwarded_bytes = 0;  // how much of all received its user has taken
};
static_assert(sizeof(VsockHeader) == 44);

inline constexpr std::uint64_t kHostCid = 2;
inline constexpr std::uint16_t kVsockStream = 1;

enum VsockOperation : std::uint16_t {
  kVsockRequest = 1,
  kVsockResponse = 2,
  kVsockReset = 3,
  kVsockShutdown = 4,
  kVsockData = 5,
  kVsockCreditUpdate = 6,
  kVsockCreditRequest = 7,
};

/// Flags of kVsockShutdown: what the sender will not do any more.
inline constexpr std::uint32_t kVsockShutdownReceive = 1;
inline constexpr std::uint32_t kVsockShutdownSend = 2;

}  // namespace devices
