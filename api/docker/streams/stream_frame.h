// The framing of output that is not a terminal's: [stream, 0, 0, 0, length (4 bytes, big endian)],
// then the bytes. Spec: Docker Engine API, POST /containers/{id}/attach, "Stream format".
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string_view>

#include "api/engine/container/container.h"
#include "api/http/target.h"
#include "guest-init/protocol/messages.h"

namespace docker {

/// What goes before `size` bytes of a stream.
class FrameHeader {
 public:
  FrameHeader(protocol::Stream stream, std::size_t size)
      : bytes_{static_cast<std::byte>(stream),
               std::byte{},
               std::byte{},
               std::byte{},
               octet(size >> 24),
               octet(size >> 16),
               octet(size >> 8),
               octet(size)} {}

  /// Empty if `raw`: a terminal's bytes go as they are. Valid as long as this is.
  std::span<const std::byte> bytes(bool raw) const {
    return std::span(bytes_).first(raw ? 0 : bytes_.size());
  }

 private:
  static std::byte octet(std::size_t value) { return static_cast<std::byte>(value & 0xff); }

  std::array<std::byte, 8> bytes_;
};

inline constexpr std::string_view kRawStream = "application/vnd.docker.raw-stream";
inline constexpr std::string_view kMultiplexedStream = "application/vnd.docker.multiplexed-stream";

/// The content type of a container's output. Before 1.42 it was always raw-stream.
inline std::string output_type(const engine::Container& container, http::ApiVersion version) {
  const bool multiplexed = !container.settings.process.tty && version >= http::ApiVersion{1, 42};
  return std::string(multiplexed ? kMultiplexedStream : kRawStream);
}

}  // namespace docker
