// The framing of output that is not a terminal's: [stream, 0, 0, 0, length (4 bytes, big endian)],
// then the bytes. Spec: Docker Engine API, POST /containers/{id}/attach, "Stream format".
#pragma once

#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "api/engine/container/container.h"
#include "api/http/target.h"
#include "guest-init/protocol/messages.h"

namespace docker {

/// `bytes` with its frame header; as they are if `raw` (a terminal).
inline std::vector<std::byte> frame(protocol::Stream stream, std::span<const std::byte> bytes,
                                    bool raw) {
  std::vector<std::byte> out;
  out.reserve(bytes.size() + 8);
  if (!raw) {
    const auto size = static_cast<std::uint32_t>(bytes.size());
    for (const std::uint32_t value :
         {static_cast<std::uint32_t>(stream), 0u, 0u, 0u, size >> 24, size >> 16, size >> 8, size})
      out.push_back(static_cast<std::byte>(value & 0xffu));
  }
  out.insert(out.end(), bytes.begin(), bytes.end());
  return out;
}

inline constexpr std::string_view kRawStream = "application/vnd.docker.raw-stream";
inline constexpr std::string_view kMultiplexedStream = "application/vnd.docker.multiplexed-stream";

/// The content type of a container's output. Before 1.42 it was always raw-stream.
inline std::string output_type(const engine::Container& container, http::ApiVersion version) {
  const bool multiplexed = !container.settings.tty() && version >= http::ApiVersion{1, 42};
  return std::string(multiplexed ? kMultiplexedStream : kRawStream);
}

}  // namespace docker
