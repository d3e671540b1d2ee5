#include "api/engine/resources/admission.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>

#include "vmm/base/units.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;
using base::operator""_MiB;

namespace {

/// What a machine takes before its process has done anything (an idle one was measured with 6 MiB,
/// the first of a template with 18), with room for the process's own beginning.
constexpr std::uint64_t kMachineBytes = 32_MiB;

/// Kept for the daemon and the host.
std::uint64_t reserve_of(const HostMemory& memory) {
  return std::clamp<std::uint64_t>(memory.total_bytes / 32, 64_MiB, 512_MiB);
}

/// "MemTotal:       16314860 kB"
std::optional<std::uint64_t> bytes_after(std::string_view text, std::string_view name) {
  const std::size_t at = text.find(name);
  if (at == std::string_view::npos) return std::nullopt;
  text.remove_prefix(at + name.size());
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  std::uint64_t kilobytes = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), kilobytes);
  if (parsed.ec != std::errc() || kilobytes > UINT64_MAX >> 10) return std::nullopt;
  return kilobytes << 10;
}

std::string in_mib(std::uint64_t bytes) { return std::to_string(bytes >> 20) + " MiB"; }

}  // namespace

Result<HostMemory> parse_host_memory(std::string_view text) {
  const auto total = bytes_after(text, "MemTotal:");
  const auto available = bytes_after(text, "MemAvailable:");
  if (!total || !available)
    return Error{Code::kDataLoss, "/proc/meminfo does not tell MemTotal and MemAvailable"};
  return HostMemory{.total_bytes = *total, .available_bytes = *available};
}

Result<HostMemory> read_host_memory() {
  std::ifstream file("/proc/meminfo");
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  return parse_host_memory(text);
}

Result<void> admit_limit(std::uint64_t limit, const HostMemory& memory) {
  if (limit <= memory.total_bytes) return {};
  return Error{Code::kInvalidArgument, "invalid memory limit: " + in_mib(limit) +
                                           " is more than this host has, " +
                                           in_mib(memory.total_bytes)};
}

Result<void> admit_machine(const HostMemory& memory) {
  const std::uint64_t needed = kMachineBytes + reserve_of(memory);
  if (memory.available_bytes >= needed) return {};
  return Error{Code::kResourceExhausted,
               "cannot allocate memory: the host has " + in_mib(memory.available_bytes) +
                   " left, and one more container needs " + in_mib(needed) +
                   ", with what is kept for the host itself"};
}

}  // namespace engine
