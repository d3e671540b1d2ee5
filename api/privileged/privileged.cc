#include "api/privileged/privileged.h"

#include <functional>
#include <utility>

namespace engine {

using base::Result;

template <typename T, typename Call>
net::awaitable<T> Privileged::carry_out(Call call) {
  std::function<T()> work = [&acts = acts_, call = std::move(call)] { return call(acts); };
  return threads_->run(std::move(work));
}

Privileged::Reply<SpawnedMonitor> Privileged::spawn_monitor(MonitorSpec spec) {
  return carry_out<Result<SpawnedMonitor>>(
      [spec = std::move(spec)](PrivilegedActs& acts) { return acts.spawn_monitor(spec); });
}

net::awaitable<void> Privileged::keep_monitor(MonitorSlot slot) {
  auto kept = carry_out<bool>([slot](PrivilegedActs& acts) {
    acts.keep_monitor(slot);
    return true;
  });
  co_await std::move(kept);
}

net::awaitable<void> Privileged::release_monitor(MonitorSlot slot) {
  auto released = carry_out<bool>([slot](PrivilegedActs& acts) {
    acts.release_monitor(slot);
    return true;
  });
  co_await std::move(released);
}

net::awaitable<void> Privileged::remove_strays() {
  auto removed = carry_out<bool>([](PrivilegedActs& acts) {
    acts.remove_strays();
    return true;
  });
  co_await std::move(removed);
}

Privileged::Reply<base::Spawned> Privileged::spawn_file_server(FileServerSpec spec) {
  return carry_out<Result<base::Spawned>>(
      [spec = std::move(spec)](PrivilegedActs& acts) { return acts.spawn_file_server(spec); });
}

Privileged::Reply<HostFile> Privileged::check_host_path(std::string path) {
  return carry_out<Result<HostFile>>(
      [path = std::move(path)](PrivilegedActs& acts) { return acts.check_host_path(path); });
}

Privileged::Reply<base::UniqueFd> Privileged::open_host_tree(HostTree tree) {
  return carry_out<Result<base::UniqueFd>>(
      [tree = std::move(tree)](PrivilegedActs& acts) { return acts.open_host_tree(tree); });
}

Privileged::Reply<base::UniqueFd> Privileged::connect_host_socket(std::string path) {
  return carry_out<Result<base::UniqueFd>>(
      [path = std::move(path)](PrivilegedActs& acts) { return acts.connect_host_socket(path); });
}

Privileged::Reply<void> Privileged::set_weights(MonitorSlot slot, GroupWeights weights) {
  return carry_out<Result<void>>([slot, weights = std::move(weights)](PrivilegedActs& acts) {
    return acts.set_weights(slot, weights);
  });
}

Privileged::Reply<void> Privileged::create_bridge(BridgeSpec spec) {
  return carry_out<Result<void>>(
      [spec = std::move(spec)](PrivilegedActs& acts) { return acts.create_bridge(spec); });
}

Privileged::Reply<void> Privileged::delete_bridge(std::string name) {
  return carry_out<Result<void>>(
      [name = std::move(name)](PrivilegedActs& acts) { return acts.delete_bridge(name); });
}

Privileged::Reply<base::UniqueFd> Privileged::create_tap(TapRule rule, TapPort port) {
  return carry_out<Result<base::UniqueFd>>(
      [rule = std::move(rule), port = std::move(port)](PrivilegedActs& acts) {
        return acts.create_tap(rule, port);
      });
}

Privileged::Reply<void> Privileged::remove_rules(std::string table) {
  return carry_out<Result<void>>(
      [table = std::move(table)](PrivilegedActs& acts) { return acts.remove_rules(table); });
}

Privileged::Reply<void> Privileged::add_network(NetworkRule rule) {
  return carry_out<Result<void>>(
      [rule = std::move(rule)](PrivilegedActs& acts) { return acts.add_network(rule); });
}

Privileged::Reply<void> Privileged::remove_network(NetworkRule rule) {
  return carry_out<Result<void>>(
      [rule = std::move(rule)](PrivilegedActs& acts) { return acts.remove_network(rule); });
}

Privileged::Reply<base::UniqueFd> Privileged::publish(PortRule rule) {
  return carry_out<Result<base::UniqueFd>>(
      [rule = std::move(rule)](PrivilegedActs& acts) { return acts.publish(rule); });
}

Privileged::Reply<void> Privileged::withdraw(PortRule rule) {
  return carry_out<Result<void>>(
      [rule = std::move(rule)](PrivilegedActs& acts) { return acts.withdraw(rule); });
}

Privileged::Reply<void> Privileged::allow_tap(TapRule rule) {
  return carry_out<Result<void>>(
      [rule = std::move(rule)](PrivilegedActs& acts) { return acts.allow_tap(rule); });
}

Privileged::Reply<void> Privileged::forbid_tap(TapRule rule) {
  return carry_out<Result<void>>(
      [rule = std::move(rule)](PrivilegedActs& acts) { return acts.forbid_tap(rule); });
}

}  // namespace engine
