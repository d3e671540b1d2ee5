// Usage: what a running container uses, in numbers: a guest's Statistics, parsed.
//
// Trust: every text is the guest's. What does not parse is 0; nothing else can go wrong. Memory: as
// many counters as memory.stat has lines (the message is bounded by its frame).
// Source of the formats: the kernel's cgroup-v2 documentation, proc(5) for net/dev and meminfo.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "guest-init/protocol/messages.h"

namespace engine {

struct NetworkUsage {
  std::string interface;
  std::uint64_t rx_bytes = 0;
  std::uint64_t rx_packets = 0;
  std::uint64_t rx_errors = 0;
  std::uint64_t rx_dropped = 0;
  std::uint64_t tx_bytes = 0;
  std::uint64_t tx_packets = 0;
  std::uint64_t tx_errors = 0;
  std::uint64_t tx_dropped = 0;
};

/// One block device of the guest.
struct DeviceUsage {
  std::uint64_t major = 0;
  std::uint64_t minor = 0;
  std::uint64_t read_bytes = 0;
  std::uint64_t written_bytes = 0;
};

struct Usage {
  std::uint64_t cpu_ns = 0;  // user and system together
  std::uint64_t user_cpu_ns = 0;
  std::uint64_t system_cpu_ns = 0;
  std::uint64_t throttling_periods = 0;
  std::uint64_t throttled_periods = 0;
  std::uint64_t throttled_ns = 0;
  std::uint32_t cpus = 0;
  std::uint64_t memory_bytes = 0;
  std::uint64_t memory_limit_bytes = 0;  // the machine's memory if the container has no limit
  std::map<std::string, std::uint64_t> memory_counters;  // memory.stat
  std::uint64_t processes = 0;
  std::uint64_t process_limit = 0;  // UINT64_MAX: none
  std::vector<DeviceUsage> devices;
  std::vector<NetworkUsage> networks;  // without the loopback
};

Usage parse_usage(const protocol::Statistics& statistics);

/// "key value" lines, as cpu.stat and memory.stat have them.
std::map<std::string, std::uint64_t> parse_flat_keyed(std::string_view text);

}  // namespace engine
