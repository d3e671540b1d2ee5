#include "api/networks/port_range.h"

#include <fstream>

namespace engine {

PortRange host_port_range() {
  constexpr PortRange kOtherwise{49153, 65535};
  std::ifstream file("/proc/sys/net/ipv4/ip_local_port_range");
  unsigned first = 0;
  unsigned last = 0;
  if (!(file >> first >> last) || first == 0 || last > 65535 || first > last) return kOtherwise;
  return {static_cast<std::uint16_t>(first), static_cast<std::uint16_t>(last)};
}

}  // namespace engine
