// Privileged: asks for the acts that need more rights than parsing clients, images and guests
// should have (privileged_acts.h), and waits for none on the io_context thread.
//
// What is asked and answered are values and descriptors; nothing of it depends on the engine's
// objects, so that whoever carries it out can be a process of its own. It also gives out what is
// scarce: slots of monitors (a uid, a cgroup), taps, rules.
//
// Threads: the io_context thread; acts run on threads of this object's own, at most kThreads at
// once, in their order. The destructor waits for those that run.
// Errors: those of the act.
#pragma once

#include <optional>
#include <string>

#include "api/async/blocking_pool.h"
#include "api/privileged/privileged_acts.h"

namespace engine {

class Privileged {
 public:
  static constexpr std::size_t kThreads = 4;

  /// `acts` outlives it.
  explicit Privileged(PrivilegedActs& acts, std::size_t threads = kThreads)
      : acts_(acts), count_(threads), threads_(std::in_place, threads) {}

  /// Waits for the acts that run, and until no thread refers to the executor of whoever asked for
  /// one, which it does a moment longer than that waits. Before the io_context goes.
  void settle() { threads_.emplace(count_); }

  template <typename T>
  using Reply = net::awaitable<base::Result<T>>;

  /// See PrivilegedActs. The descriptors in `spec` stay open until the answer.
  Reply<SpawnedMonitor> spawn_monitor(MonitorSpec spec);
  net::awaitable<void> keep_monitor(MonitorSlot slot);
  net::awaitable<void> release_monitor(MonitorSlot slot);
  net::awaitable<void> remove_strays();
  Reply<base::Spawned> spawn_file_server(FileServerSpec spec);
  Reply<HostFile> check_host_path(std::string path);
  Reply<base::UniqueFd> open_host_tree(HostTree tree);
  Reply<base::UniqueFd> connect_host_socket(std::string path);
  Reply<void> set_weights(MonitorSlot slot, GroupWeights weights);
  Reply<void> create_bridge(BridgeSpec spec);
  Reply<void> delete_bridge(std::string name);
  Reply<base::UniqueFd> create_tap(TapRule rule, TapPort port);
  Reply<void> remove_rules(std::string table);
  Reply<void> add_network(NetworkRule rule);
  Reply<void> remove_network(NetworkRule rule);
  Reply<base::UniqueFd> publish(PortRule rule);
  Reply<void> withdraw(PortRule rule);
  Reply<void> allow_tap(TapRule rule);
  Reply<void> forbid_tap(TapRule rule);

 private:
  template <typename T, typename Call>
  net::awaitable<T> carry_out(Call call);

  PrivilegedActs& acts_;
  const std::size_t count_;
  std::optional<async::BlockingPool> threads_;
};

}  // namespace engine
