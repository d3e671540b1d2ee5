// The texts of a guest's cgroup files, /proc/net/dev and /proc/meminfo: whatever they are, numbers
// come of them.
#include <cstdlib>

#include "api/engine/resources/usage.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto statistics = wire::decode<protocol::Statistics>(std::as_bytes(std::span(data, size)));
  if (statistics) {
    const engine::Usage usage = engine::parse_usage(*statistics);
    for (const engine::NetworkUsage& network : usage.networks)
      if (network.interface.empty() || network.interface == "lo") std::abort();
  }
  const std::string text(reinterpret_cast<const char*>(data), size);
  // Each text by itself, so that one input reaches all parsers.
  protocol::Statistics same;
  same.cpu_stat = same.memory_current = same.memory_max = same.memory_stat = text;
  same.pids_current = same.pids_max = same.io_stat = same.network_devices = same.memory_info = text;
  (void)engine::parse_usage(same);
  return 0;
}
