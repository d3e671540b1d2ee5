// PrivilegedActs: the acts that need more rights than parsing clients, images and guests should
// have, as whoever has the rights carries them out.
//
// All calls block shortly and may come from any thread, one at a time per object named. The daemon
// asks for them through Privileged (privileged.h), which waits for none on the io_context thread.
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

/// A number that a running monitor has for itself: of its uid and of its cgroup.
using MonitorSlot = std::uint32_t;

struct MonitorSpec {
  std::string program;  // path of containervm-vmm
  GroupLimits limits;
  // Borrowed; the child gets copies.
  int control_socket = -1;  // listening, SOCK_SEQPACKET
  int result_file = -1;
  int log_file = -1;  // its standard error
};

struct SpawnedMonitor {
  base::Spawned process;
  MonitorSlot slot = 0;  // until release_monitor()
};

/// A file server for a machine that runs: see vmm/launch/file_server.h.
struct FileServerSpec {
  std::string program;   // path of containervm-fileserver
  MonitorSlot slot = 0;  // the machine's: the server is in its cgroup, and ends with it
  // Borrowed; the child gets copies.
  int session_socket = -1;  // to the monitor
  int control_socket = -1;  // listening, SOCK_SEQPACKET
  int log_file = -1;        // its standard error
};

/// What is at a path of the host.
struct HostFile {
  bool is_socket = false;
  bool is_directory = false;  // neither: a regular file
  std::uint32_t mode = 0;     // permissions
  std::uint32_t user = 0;
  std::uint32_t group = 0;
  bool operator==(const HostFile&) const = default;
};

/// A file or directory of the host, as a machine's file server gets it.
struct HostTree {
  std::string path;  // absolute
  bool read_only = false;
  bool read_only_below = true;  // then also what is mounted below it
  bool mounts_below = true;     // whether what is mounted below it is there
  bool create = false;          // made as a directory, if nothing is there
  bool of_daemon = false;       // the daemon's own, such as a volume: no client named the path
  bool operator==(const HostTree&) const = default;
};

struct BridgeSpec {
  std::string name;
  std::string mac;      // "02:42:ac:11:00:01"
  std::string address;  // the gateway's: "172.17.0.1"
  std::uint8_t prefix_length = 0;
  std::uint32_t mtu = 1500;
  bool take_over = false;     // one of this name that is there already: what an earlier daemon left
  std::string address6 = {};  // "fd00:1::1"; empty: it has no IPv6
  std::uint8_t prefix_length6 = 0;
};

/// The rules of all of a daemon's networks, in tables of this name (families ip, ip6 and
/// netdev).
struct RuleSpec {
  std::string table;
  std::string tap_prefix;   // every tap of this daemon begins with it
  bool link_local = false;  // whether machines may reach 169.254.0.0/16 (metadata services)
};

/// One network: what leaves it and who reaches it.
struct NetworkRule {
  std::string table;
  std::string bridge;        // interface
  std::string subnet;        // "172.17.0.0/16"
  bool internal = false;     // nothing leaves it, nothing comes in
  bool masquerade = true;    // what leaves it has the host's address
  bool connects = true;      // its members reach each other
  std::string subnet6 = {};  // "fd00:1::/64"; empty: it has no IPv6
};

/// What a tap may send: IPv4 and ARP from this MAC and this address; IPv6, if it has an address of
/// that, from this MAC and that address or the link-local one of the MAC. Nothing else.
struct TapRule {
  std::string table;
  std::string tap;
  std::string mac;
  std::string address;
  bool reaches_host = false;  // whether it may ask services of the host itself
  std::string address6 = {};  // empty: no IPv6
};

/// Where a tap goes.
struct TapPort {
  std::string bridge;
  std::uint32_t mtu = 1500;
  bool isolated = false;  // reaches the bridge's host, but no other isolated port of it
};

enum class Protocol : std::uint8_t { kTcp, kUdp };

/// "tcp"
std::string_view to_string(Protocol protocol);

/// A port of the host that leads to a machine's.
struct PortRule {
  std::string table;
  Protocol protocol = Protocol::kTcp;
  std::string host_address;  // "0.0.0.0": each that the host has
  std::uint16_t host_port = 0;
  std::string address;  // the machine's
  std::uint16_t port = 0;
};

class PrivilegedActs {
 public:
  virtual ~PrivilegedActs() = default;

  /// With /dev/kvm, a uid and a cgroup of its own. kResourceExhausted: no slot is free.
  virtual base::Result<SpawnedMonitor> spawn_monitor(const MonitorSpec& spec) = 0;
  /// The slot of a monitor that an earlier daemon started: nobody else gets it.
  virtual void keep_monitor(MonitorSlot slot) = 0;
  /// Of a monitor that is gone: removes its cgroup, ending what is still in it, and frees the slot.
  virtual void release_monitor(MonitorSlot slot) = 0;
  /// Ends and removes what has a slot's cgroup without having the slot: monitors that an earlier
  /// daemon started and did not come to record. After keep_monitor() for all that it did.
  virtual void remove_strays() = 0;
  virtual base::Result<base::Spawned> spawn_file_server(const FileServerSpec& spec) = 0;
  /// Whether containers may have this of the host, and what it is; errors: see host_files.h.
  virtual base::Result<HostFile> check_host_path(const std::string& path) = 0;
  /// An O_PATH descriptor of it, as a mount that is attached nowhere.
  virtual base::Result<base::UniqueFd> open_host_tree(const HostTree& tree) = 0;
  /// A non-blocking connection to a unix stream socket of the host. Errors: see host_files.h.
  virtual base::Result<base::UniqueFd> connect_host_socket(const std::string& path) = 0;
  /// These weights instead of the present ones. kNotSupported where the kernel has none of the
  /// kind.
  virtual base::Result<void> set_weights(MonitorSlot slot, const GroupWeights& weights) = 0;

  /// Makes the bridge with its address and brings it up. kAlreadyExists, unless it takes it over.
  virtual base::Result<void> create_bridge(const BridgeSpec& spec) = 0;
  /// Removes a bridge; its taps stay, unconnected. Absent: nothing to do.
  virtual base::Result<void> delete_bridge(const std::string& name) = 0;
  /// A tap with IFF_VNET_HDR on the bridge, up, that was never without its rule (the tables must
  /// be installed). It disappears with its last descriptor; forbid_tap() removes what remains.
  virtual base::Result<base::UniqueFd> create_tap(const TapRule& rule, const TapPort& port) = 0;

  /// Replaces the tables by ones without a network; taps that exist may send nothing until
  /// allow_tap(). IPv4 is forwarded between interfaces then. On a host that did not do that before,
  /// its other interfaces are still no way from one to another through it.
  virtual base::Result<void> install_rules(const RuleSpec& spec) = 0;
  /// Forwarding ends, too, if the rules began it.
  virtual base::Result<void> remove_rules(const std::string& table) = 0;
  /// The tables must be installed. A network that is there already is kAlreadyExists. With the
  /// first that has IPv6 that is forwarded, too, in the same way. kNotSupported: this host has no
  /// IPv6.
  virtual base::Result<void> add_network(const NetworkRule& rule) = 0;
  virtual base::Result<void> remove_network(const NetworkRule& rule) = 0;
  /// What comes to the host's port goes to the machine's from now on. The descriptor is what keeps
  /// other programs from the port; it serves nothing. kAlreadyExists: a program of the host has the
  /// port; kInvalidArgument: the host has no such address.
  virtual base::Result<base::UniqueFd> publish(const PortRule& rule) = 0;
  /// Connections through it that are open go on.
  virtual base::Result<void> withdraw(const PortRule& rule) = 0;
  /// For a tap that an earlier daemon made.
  virtual base::Result<void> allow_tap(const TapRule& rule) = 0;
  virtual base::Result<void> forbid_tap(const TapRule& rule) = 0;
};

}  // namespace engine
