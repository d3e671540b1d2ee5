// LocalPrivileged: the privileged acts, carried out in this process (which must be root).
#pragma once

#include <filesystem>
#include <mutex>

#include "api/privileged/privileged.h"

namespace engine {

class LocalPrivileged final : public Privileged {
 public:
  struct Config {
    /// A cgroup v2 directory to make the machines' groups in; empty: machines get none.
    std::filesystem::path group_root;
  };

  /// The directory that `Config::group_root` should name on this host: a child of cgroup v2's root,
  /// called `name`, with the memory and pids controllers for its children. kNotSupported without
  /// cgroup v2.
  static base::Result<std::filesystem::path> make_group_root(const std::string& name);

  explicit LocalPrivileged(Config config) : config_(std::move(config)) {}

  base::Result<base::UniqueFd> open_kvm() override;
  base::Result<SpawnedMonitor> spawn_monitor(const MonitorSpec& spec) override;
  base::Result<void> set_weights(const std::string& group, const GroupWeights& weights) override;
  void remove_group(const std::string& group) override;
  base::Result<void> create_bridge(const BridgeSpec& spec) override;
  base::Result<base::UniqueFd> create_tap(const TapRule& rule, const std::string& bridge,
                                          std::uint32_t mtu) override;
  base::Result<void> delete_bridge(const std::string& name) override;
  base::Result<void> enable_forwarding() override;
  base::Result<void> install_rules(const RuleSpec& spec) override;
  base::Result<void> remove_rules(const std::string& table) override;
  base::Result<void> allow_tap(const TapRule& rule) override;
  base::Result<void> forbid_tap(const TapRule& rule) override;

 private:
  /// A network namespace with nothing in it, shared by all monitors: making one takes milliseconds.
  base::Result<int> empty_network_namespace();
  /// The rule first, then the bridge.
  base::Result<void> connect_tap(const TapRule& rule, const std::string& bridge, std::uint32_t mtu);
  base::Result<base::UniqueFd> make_group(const std::string& group, const GroupLimits& limits);

  Config config_;
  std::mutex namespace_mutex_;
  base::UniqueFd network_namespace_;
  std::mutex rules_mutex_;  // libnftables is not safe to use from two threads at once
};

}  // namespace engine
