// Privileged: the acts that need more rights than parsing clients, images and guests should have.
//
// One small typed interface, so that it can become a process of its own: arguments are values and
// descriptors, nothing here depends on the engine's objects. LocalPrivileged carries them out in
// this process. All calls block shortly and may come from any thread, one at a time per object
// named.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "vmm/base/result.h"
#include "vmm/base/spawn.h"
#include "vmm/base/unique_fd.h"

namespace engine {

/// Resource limits of one machine on the host: a safety net around the monitor, wider than anything
/// a container asks for (those limits are kept inside the guest).
struct GroupLimits {
  std::uint64_t memory_bytes = 0;
  std::uint32_t tasks = 0;
};

/// Who dies first when the host runs out of memory (proc(5), oom_score_adj): the daemon, which all
/// depend on, last; containers' machines, and tools that read one client's bytes, first.
inline constexpr int kDaemonOomScore = -500;
inline constexpr int kMonitorOomScore = 500;

/// What a machine gets when it competes with others; 0 = as all.
struct GroupWeights {
  std::uint64_t cpu_shares = 0;  // Docker's 2..262144
  std::uint32_t block_io = 0;    // Docker's 10..1000
  /// For single devices, "8:0".
  std::vector<std::pair<std::string, std::uint32_t>> block_io_of;
  bool operator==(const GroupWeights&) const = default;
};

struct MonitorSpec {
  std::string program;  // path of containervm-vmm
  std::string group;    // name of its cgroup, unique on this host; see remove_group()
  GroupLimits limits;
  uid_t uid = 0;  // the monitor changes to it, and to the group of the same number
  // Borrowed; the child gets copies.
  int control_socket = -1;  // listening, SOCK_SEQPACKET
  int kvm = -1;
  int result_file = -1;
  int log_file = -1;  // its standard error
};

using SpawnedMonitor = base::Spawned;

struct BridgeSpec {
  std::string name;
  std::string mac;      // "02:42:ac:11:00:01"
  std::string address;  // the gateway's: "172.17.0.1"
  std::uint8_t prefix_length = 0;
  std::uint32_t mtu = 1500;
};

/// A network's NAT and filter rules, all in tables of this name (families ip and netdev).
struct RuleSpec {
  std::string table;
  std::string bridge;       // interface
  std::string subnet;       // "172.17.0.0/16"
  std::string tap_prefix;   // every tap of this daemon begins with it
  bool link_local = false;  // whether machines may reach 169.254.0.0/16 (metadata services)
};

/// What a tap may send: IPv4 and ARP from this MAC and this address, nothing else.
struct TapRule {
  std::string table;
  std::string tap;
  std::string mac;
  std::string address;
};

class Privileged {
 public:
  virtual ~Privileged() = default;

  virtual base::Result<base::UniqueFd> open_kvm() = 0;
  virtual base::Result<SpawnedMonitor> spawn_monitor(const MonitorSpec& spec) = 0;
  /// These weights instead of the present ones. kNotSupported where the kernel has none of the
  /// kind.
  virtual base::Result<void> set_weights(const std::string& group, const GroupWeights& weights) = 0;
  /// Removes a monitor's cgroup, ending what is still in it. Absent: nothing to do.
  virtual void remove_group(const std::string& group) = 0;

  /// Makes the bridge with its address and brings it up; one that exists is taken over.
  virtual base::Result<void> create_bridge(const BridgeSpec& spec) = 0;
  /// A tap with IFF_VNET_HDR on the bridge, up, that was never without its rule (the tables must
  /// be installed). It disappears with its last descriptor; forbid_tap() removes what remains.
  virtual base::Result<base::UniqueFd> create_tap(const TapRule& rule, const std::string& bridge,
                                                  std::uint32_t mtu) = 0;
  /// Removes a bridge; its taps stay, unconnected. Absent: nothing to do.
  virtual base::Result<void> delete_bridge(const std::string& name) = 0;
  /// Forwarding of IPv4 between interfaces (for the whole host, as Docker does it).
  virtual base::Result<void> enable_forwarding() = 0;

  /// Replaces the tables by these rules; taps that exist may send nothing until allow_tap().
  virtual base::Result<void> install_rules(const RuleSpec& spec) = 0;
  virtual base::Result<void> remove_rules(const std::string& table) = 0;
  /// For a tap that an earlier daemon made.
  virtual base::Result<void> allow_tap(const TapRule& rule) = 0;
  virtual base::Result<void> forbid_tap(const TapRule& rule) = 0;
};

}  // namespace engine
