// LocalPrivileged: the privileged acts, carried out in this process (which must be root).
#pragma once

#include <filesystem>
#include <mutex>
#include <set>

#include "api/privileged/host_files.h"
#include "api/privileged/privileged_acts.h"
#include "api/privileged/uid_range.h"

namespace engine {

class LocalPrivileged final : public PrivilegedActs {
 public:
  struct Config {
    /// A cgroup v2 directory to make the machines' groups in; empty: machines get none.
    std::filesystem::path group_root;
    /// Where published ports are listed for whoever offers them elsewhere, a line each: "tcp
    /// 0.0.0.0 8080". Replaced with every change; empty: nowhere.
    std::filesystem::path port_list = {};
    /// What containers may have of the host.
    host_files::Access host_access = {};
    uid_t first_uid = 0;  // a range of UidRange::kUids belongs to this daemon
  };

  /// The directory that `Config::group_root` should name on this host: a child of cgroup v2's root,
  /// called `name`, with the memory and pids controllers for its children. kNotSupported without
  /// cgroup v2.
  static base::Result<std::filesystem::path> make_group_root(const std::string& name);

  explicit LocalPrivileged(Config config) : config_(std::move(config)) {}

  base::Result<SpawnedMonitor> spawn_monitor(const MonitorSpec& spec) override;
  void keep_monitor(MonitorSlot slot) override;
  void release_monitor(MonitorSlot slot) override;
  void remove_strays() override;
  base::Result<base::Spawned> spawn_file_server(const FileServerSpec& spec) override;
  base::Result<HostFile> check_host_path(const std::string& path) override;
  base::Result<base::UniqueFd> open_host_tree(const HostTree& tree) override;
  base::Result<base::UniqueFd> connect_host_socket(const std::string& path) override;
  base::Result<void> set_weights(MonitorSlot slot, const GroupWeights& weights) override;
  base::Result<void> create_bridge(const BridgeSpec& spec) override;
  base::Result<base::UniqueFd> create_tap(const TapRule& rule, const TapPort& port) override;
  base::Result<void> delete_bridge(const std::string& name) override;
  base::Result<void> install_rules(const RuleSpec& spec) override;
  base::Result<void> remove_rules(const std::string& table) override;
  base::Result<void> add_network(const NetworkRule& rule) override;
  base::Result<void> remove_network(const NetworkRule& rule) override;
  base::Result<base::UniqueFd> publish(const PortRule& rule) override;
  base::Result<void> withdraw(const PortRule& rule) override;
  base::Result<void> allow_tap(const TapRule& rule) override;
  base::Result<void> forbid_tap(const TapRule& rule) override;

 private:
  /// A network namespace with nothing in it, shared by all monitors: making one takes milliseconds.
  base::Result<int> empty_network_namespace();
  /// The rule first, then the bridge.
  base::Result<void> connect_tap(const TapRule& rule, const TapPort& port);
  base::Result<MonitorSlot> take_slot();
  base::Result<base::Spawned> spawn_in(MonitorSlot slot, const MonitorSpec& spec);
  std::filesystem::path group_of(MonitorSlot slot) const;
  base::Result<void> list_ports() const;
  base::Result<void> forward_ipv6(const std::string& table);
  base::Result<base::UniqueFd> make_group(MonitorSlot slot, const GroupLimits& limits);
  /// All slots that have one.
  std::vector<MonitorSlot> groups() const;
  void remove_group(MonitorSlot slot) const;

  Config config_;
  std::mutex slots_mutex_;
  std::set<MonitorSlot> slots_;  // in use
  std::mutex namespace_mutex_;
  base::UniqueFd network_namespace_;
  std::mutex rules_mutex_;       // libnftables is not safe to use from two threads at once
  std::set<std::string> ports_;  // lines of the port list
  std::string tap_prefix_;       // of machines' taps; empty before there are rules
};

}  // namespace engine
