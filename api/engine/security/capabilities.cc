#include "api/engine/security/capabilities.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <optional>
#include <string_view>

namespace engine {

using base::Code;
using base::Error;
using base::Result;

namespace {

/// Index = the capability's number (capabilities(7)).
constexpr auto kNames = std::to_array<std::string_view>({"CHOWN",
                                                         "DAC_OVERRIDE",
                                                         "DAC_READ_SEARCH",
                                                         "FOWNER",
                                                         "FSETID",
                                                         "KILL",
                                                         "SETGID",
                                                         "SETUID",
                                                         "SETPCAP",
                                                         "LINUX_IMMUTABLE",
                                                         "NET_BIND_SERVICE",
                                                         "NET_BROADCAST",
                                                         "NET_ADMIN",
                                                         "NET_RAW",
                                                         "IPC_LOCK",
                                                         "IPC_OWNER",
                                                         "SYS_MODULE",
                                                         "SYS_RAWIO",
                                                         "SYS_CHROOT",
                                                         "SYS_PTRACE",
                                                         "SYS_PACCT",
                                                         "SYS_ADMIN",
                                                         "SYS_BOOT",
                                                         "SYS_NICE",
                                                         "SYS_RESOURCE",
                                                         "SYS_TIME",
                                                         "SYS_TTY_CONFIG",
                                                         "MKNOD",
                                                         "LEASE",
                                                         "AUDIT_WRITE",
                                                         "AUDIT_CONTROL",
                                                         "SETFCAP",
                                                         "MAC_OVERRIDE",
                                                         "MAC_ADMIN",
                                                         "SYSLOG",
                                                         "WAKE_ALARM",
                                                         "BLOCK_SUSPEND",
                                                         "AUDIT_READ",
                                                         "PERFMON",
                                                         "BPF",
                                                         "CHECKPOINT_RESTORE"});

/// The bits `name` stands for.
Result<std::uint64_t> bits_of(const std::string& name) {
  std::string upper = name;
  std::transform(upper.begin(), upper.end(), upper.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  std::string_view word = upper;
  if (word == "ALL") return kAllCapabilities;
  if (word.starts_with("CAP_")) word.remove_prefix(4);
  const auto found = std::find(kNames.begin(), kNames.end(), word);
  if (found == kNames.end())
    return Error{Code::kInvalidArgument,
                 "unknown capability: \"CAP_" + std::string(word.substr(0, 64)) + "\""};
  return std::uint64_t{1} << (found - kNames.begin());
}

Result<std::uint64_t> union_of(const std::vector<std::string>& names) {
  std::uint64_t all = 0;
  for (const std::string& name : names) {
    const auto bits = bits_of(name);
    if (!bits) return bits.error();
    all |= *bits;
  }
  return all;
}

}  // namespace

Result<std::uint64_t> capabilities_for(const std::vector<std::string>& add,
                                       const std::vector<std::string>& drop, bool privileged) {
  const auto added = union_of(add);
  if (!added) return base::annotate(added.error(), "invalid CapAdd");
  const auto dropped = union_of(drop);
  if (!dropped) return base::annotate(dropped.error(), "invalid CapDrop");
  if (privileged) return kAllCapabilities;
  // "--cap-drop ALL --cap-add X" gives X; "--cap-add ALL --cap-drop X" gives all but X.
  if (*dropped == kAllCapabilities) return *added;
  if (*added == kAllCapabilities) return kAllCapabilities & ~*dropped;
  return (kDefaultCapabilities & ~*dropped) | *added;
}

std::uint64_t capability_bit(std::string_view name) {
  constexpr std::string_view kPrefix = "CAP_";
  if (!name.starts_with(kPrefix)) return 0;
  const auto found = std::find(kNames.begin(), kNames.end(), name.substr(kPrefix.size()));
  return found == kNames.end() ? 0 : std::uint64_t{1} << (found - kNames.begin());
}

}  // namespace engine
