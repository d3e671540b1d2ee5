// Containers: creates, runs, stops, finds and removes containers, as clients ask for it.
//
// It puts together the classes of this folder, each of which knows one subject, and hands a request
// to the one that it is about. README.md says which there are.
// Threads: the io_context thread; what blocks goes to the pool. Every operation that changes a
// container runs to its end once begun: callers await it shielded (async/shield.h) from a client
// that leaves.
// Truth: the database; a change is committed before anybody is told of it. After a crash recover()
// brings the two together again.
// Errors carry Docker's sentences: kNotFound "No such container: x", kConflict, kInvalidArgument.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "api/async/blocking_pool.h"
#include "api/async/net.h"
#include "api/engine/attachments/attachments.h"
#include "api/engine/container/container.h"
#include "api/engine/container/container_events.h"
#include "api/engine/container/container_waits.h"
#include "api/engine/containers/background.h"
#include "api/engine/containers/container_files.h"
#include "api/engine/containers/container_health.h"
#include "api/engine/containers/container_storage.h"
#include "api/engine/containers/container_table.h"
#include "api/engine/containers/container_volumes.h"
#include "api/engine/containers/launcher.h"
#include "api/engine/containers/pauses.h"
#include "api/engine/containers/removal.h"
#include "api/engine/containers/restart_policies.h"
#include "api/engine/containers/runs.h"
#include "api/machines/machine_host.h"

namespace engine {

/// What Containers works with; all of it outlives it.
struct EngineParts {
  net::any_io_executor executor;
  Database& database;
  ContainerEvents& events;
  async::BlockingPool& pool;
  images::Store& images;
  MachineHost& machines;
  Volumes& volumes;
  NetworkCatalog& networks;
  SeccompFilters& seccomp;
  std::filesystem::path directory;  // one directory per container below it
  launch::Shape default_shape{.vcpus = 1, .memory_bytes = 512ull << 20};
  /// How much memory containers have at least in whose machine others may come (IpcMode shareable).
  std::uint64_t shared_bytes = 2ull << 30;
  Patience patience = {};
  std::function<base::Result<HostMemory>()> host_memory = read_host_memory;
};

struct CreateRequest {
  std::string name;  // empty: a random one
  Settings settings;
  bool of_build = false;  // should the daemon be killed, the next one removes it
  /// Only its image's files are of interest: it gets no volumes and is never started.
  bool files_only = false;
};

class Containers {
 public:
  explicit Containers(EngineParts parts);
  Containers(const Containers&) = delete;
  Containers& operator=(const Containers&) = delete;

  /// Reads the database, takes over machines that still run, settles those that died. First call.
  net::awaitable<base::Result<void>> recover();
  /// Stops every container as `docker stop` does, at once. Restart policies no longer act. Last
  /// call.
  net::awaitable<void> shut_down();
  /// Instead of shut_down(): waits for what is under way and changes nothing any more; what runs
  /// goes on, and the next daemon takes it over. Nothing else may be called afterwards.
  net::awaitable<void> let_go();

  net::awaitable<base::Result<ContainerPtr>> create(CreateRequest request);
  /// As ContainerTable has them (container_table.h).
  base::Result<ContainerPtr> find(std::string_view name) const { return table_.find(name); }
  std::vector<ContainerPtr> list() const { return table_.list(); }
  base::Result<void> rename(ContainerPtr container, std::string name);
  /// `changes`: Docker's update request, Resources and RestartPolicy. What is 0 or empty in it
  /// stays. A running container's limits change at once.
  net::awaitable<base::Result<void>> update(ContainerPtr container, nlohmann::json changes);
  /// Gives other settings to a container that does not run. Whoever calls this holds its transition
  /// lock.
  base::Result<void> replace_settings(Container& container, Settings settings);
  /// As Attachments does them (api/engine/attachments), for a container that runs. Whoever calls
  /// these holds its transition lock.
  net::awaitable<base::Result<void>> connect(ContainerPtr container, Settings next,
                                             std::string network) {
    return attachments_.connect(std::move(container), std::move(next), std::move(network));
  }
  net::awaitable<base::Result<void>> disconnect(ContainerPtr container, Settings next,
                                                std::string network) {
    return attachments_.disconnect(std::move(container), std::move(next), std::move(network));
  }
  /// Makes a container of a build one like any other, as the build leaves it behind.
  base::Result<void> keep_after_build(ContainerPtr container);

  /// As Runs does them (runs.h).
  net::awaitable<base::Result<StartResult>> start(ContainerPtr container) {
    return runs_.start(std::move(container));
  }
  net::awaitable<base::Result<StopResult>> stop(ContainerPtr container,
                                                std::optional<std::chrono::seconds> timeout,
                                                int signal = 0) {
    return runs_.stop(std::move(container), timeout, signal);
  }
  net::awaitable<base::Result<void>> restart(ContainerPtr container,
                                             std::optional<std::chrono::seconds> timeout,
                                             int signal = 0) {
    return runs_.restart(std::move(container), timeout, signal);
  }
  net::awaitable<base::Result<void>> kill(ContainerPtr container, int signal) {
    return runs_.kill(std::move(container), signal);
  }
  net::awaitable<base::Result<void>> resize(ContainerPtr container, std::uint16_t rows,
                                            std::uint16_t columns) {
    return runs_.resize(std::move(container), rows, columns);
  }

  /// As Removal does them (removal.h).
  net::awaitable<base::Result<void>> remove(ContainerPtr container, RemoveOptions options,
                                            std::string named) {
    return removal_.remove(std::move(container), options, std::move(named));
  }
  net::awaitable<base::Result<void>> remove(ContainerPtr container, RemoveOptions options) {
    std::string id = container->id;
    return removal_.remove(std::move(container), options, std::move(id));
  }
  net::awaitable<PruneResult> prune(std::function<bool(const Container&)> wanted) {
    return removal_.prune(std::move(wanted));
  }

  /// Tells listeners that something happened to `container` ("attach", "resize").
  void publish(const Container& container, std::string action,
               std::map<std::string, std::string> attributes = {}) {
    events_.publish(container, std::move(action), std::move(attributes));
  }

  /// Parts that callers use by themselves: pauses, the files of containers, what probes find.
  Pauses& pauses() { return pauses_; }
  ContainerFiles& files() { return files_; }
  ContainerHealth& health() { return health_; }

 private:
  /// Connects containers that run to networks of their settings that an earlier daemon left out.
  net::awaitable<void> restore_networks(ContainerPtr container);

  ContainerEvents& events_;
  Background background_;
  ContainerTable table_;
  ContainerStorage storage_;
  ContainerVolumes volumes_;
  Attachments attachments_;
  Launcher launcher_;
  ContainerHealth health_;
  Pauses pauses_;
  Runs runs_;
  Removal removal_;
  RestartPolicies policies_;
  ContainerFiles files_;
};

}  // namespace engine
