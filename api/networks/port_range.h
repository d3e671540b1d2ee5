// The ports of the host that are given out where nobody asks for a certain one.
#pragma once

#include <cstdint>

namespace engine {

struct PortRange {
  std::uint16_t first = 0;
  std::uint16_t last = 0;  // not before the first
};

/// What the kernel gives to clients (ip_local_port_range), as Docker takes it; 49153 to 65535 where
/// that cannot be read.
PortRange host_port_range();

}  // namespace engine
