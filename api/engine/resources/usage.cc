#include "api/engine/resources/usage.h"

#include <algorithm>
#include <charconv>
#include <optional>

namespace engine {

namespace {

std::string_view next_line(std::string_view& text) {
  const std::string_view line = text.substr(0, text.find('\n'));
  text.remove_prefix(std::min(text.size(), line.size() + 1));
  return line;
}

std::string_view next_word(std::string_view& line) {
  line.remove_prefix(std::min(line.size(), line.find_first_not_of(" \t")));
  const std::string_view word = line.substr(0, line.find_first_of(" \t"));
  line.remove_prefix(word.size());
  return word;
}

std::optional<std::uint64_t> number_in(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// The number that a file consists of; nullopt for "max".
std::optional<std::uint64_t> single_value(std::string_view text) {
  return number_in(next_line(text));
}

std::uint64_t microseconds(const std::map<std::string, std::uint64_t>& counters, const char* key) {
  const auto found = counters.find(key);
  if (found == counters.end() || found->second > UINT64_MAX / 1000) return 0;
  return found->second * 1000;
}

std::uint64_t counter(const std::map<std::string, std::uint64_t>& counters, const char* key) {
  const auto found = counters.find(key);
  return found == counters.end() ? 0 : found->second;
}

/// "MemTotal:  497228 kB"
std::uint64_t total_memory(std::string_view text) {
  while (!text.empty()) {
    std::string_view line = next_line(text);
    if (next_word(line) != "MemTotal:") continue;
    const std::uint64_t kib = number_in(next_word(line)).value_or(0);
    return kib > UINT64_MAX / 1024 ? 0 : kib * 1024;
  }
  return 0;
}

/// "254:16 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0"
std::vector<DeviceUsage> parse_io_stat(std::string_view text) {
  std::vector<DeviceUsage> devices;
  while (!text.empty()) {
    std::string_view line = next_line(text);
    const std::string_view device = next_word(line);
    const std::size_t colon = device.find(':');
    if (colon == std::string_view::npos) continue;
    const auto major = number_in(device.substr(0, colon));
    const auto minor = number_in(device.substr(colon + 1));
    if (!major || !minor) continue;
    DeviceUsage usage{.major = *major, .minor = *minor};
    for (std::string_view word = next_word(line); !word.empty(); word = next_word(line)) {
      if (word.starts_with("rbytes=")) usage.read_bytes = number_in(word.substr(7)).value_or(0);
      if (word.starts_with("wbytes=")) usage.written_bytes = number_in(word.substr(7)).value_or(0);
    }
    devices.push_back(usage);
  }
  return devices;
}

/// "  eth0: bytes packets errs drop fifo frame compressed multicast bytes packets errs drop ..."
std::vector<NetworkUsage> parse_network_devices(std::string_view text) {
  std::vector<NetworkUsage> networks;
  while (!text.empty()) {
    std::string_view line = next_line(text);
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    std::string_view name = line.substr(0, colon);
    NetworkUsage usage{.interface = std::string(next_word(name))};
    if (usage.interface == "lo" || usage.interface.empty()) continue;
    line.remove_prefix(colon + 1);
    std::uint64_t values[12]{};
    for (std::uint64_t& value : values) value = number_in(next_word(line)).value_or(0);
    usage.rx_bytes = values[0];
    usage.rx_packets = values[1];
    usage.rx_errors = values[2];
    usage.rx_dropped = values[3];
    usage.tx_bytes = values[8];
    usage.tx_packets = values[9];
    usage.tx_errors = values[10];
    usage.tx_dropped = values[11];
    networks.push_back(std::move(usage));
  }
  return networks;
}

}  // namespace

std::map<std::string, std::uint64_t> parse_flat_keyed(std::string_view text) {
  std::map<std::string, std::uint64_t> values;
  while (!text.empty()) {
    std::string_view line = next_line(text);
    const std::string_view key = next_word(line);
    const auto value = number_in(next_word(line));
    if (!key.empty() && value) values.emplace(key, *value);
  }
  return values;
}

Usage parse_usage(const protocol::Statistics& statistics) {
  const auto cpu = parse_flat_keyed(statistics.cpu_stat);
  Usage usage;
  usage.cpu_ns = microseconds(cpu, "usage_usec");
  usage.user_cpu_ns = microseconds(cpu, "user_usec");
  usage.system_cpu_ns = microseconds(cpu, "system_usec");
  usage.throttling_periods = counter(cpu, "nr_periods");
  usage.throttled_periods = counter(cpu, "nr_throttled");
  usage.throttled_ns = microseconds(cpu, "throttled_usec");
  usage.cpus = statistics.cpus;
  usage.memory_bytes = single_value(statistics.memory_current).value_or(0);
  const std::uint64_t machine = total_memory(statistics.memory_info);
  usage.memory_limit_bytes =
      std::min(single_value(statistics.memory_max).value_or(machine), machine);
  usage.memory_counters = parse_flat_keyed(statistics.memory_stat);
  usage.processes = single_value(statistics.pids_current).value_or(0);
  usage.process_limit = single_value(statistics.pids_max).value_or(UINT64_MAX);
  usage.devices = parse_io_stat(statistics.io_stat);
  usage.networks = parse_network_devices(statistics.network_devices);
  return usage;
}

}  // namespace engine
