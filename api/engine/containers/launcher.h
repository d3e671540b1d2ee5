// Launcher: gets machines for containers: new ones, and those of an earlier daemon.
//
// Threads: the io_context thread. What Parts refers to outlives it. Whoever calls it holds the
// container's transition lock, and has seen the machine of its last run end.
// Errors are those that a start answers, in Docker's words; nothing is left of what was launched
// then, but for the output: its log has begun, and finish() is the caller's.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "api/async/net.h"
#include "api/engine/container/container.h"
#include "api/engine/container/container_events.h"
#include "api/engine/containers/container_storage.h"
#include "api/engine/containers/container_table.h"
#include "api/engine/containers/container_volumes.h"
#include "api/engine/resources/admission.h"
#include "api/engine/security/seccomp_filters.h"
#include "api/machines/machine.h"
#include "api/networks/networks.h"

namespace engine {

/// What a run of a container holds until nothing of its machine uses the disk any more.
struct Run {
  std::shared_ptr<Machine> machine;
  VolumeClaim volumes;
};

class Launcher {
 public:
  struct Parts {
    Machines& machines;
    Networks& networks;
    SeccompFilters& seccomp;
    ContainerTable& table;
    ContainerStorage& storage;
    ContainerVolumes& volumes;
    ContainerEvents& events;
    launch::Shape default_shape;
    std::function<base::Result<HostMemory>()> host_memory;
  };

  explicit Launcher(Parts parts) : parts_(std::move(parts)) {}

  /// Whether the host has as much memory as these settings allow the container.
  base::Result<void> check_limit(const Settings& settings) const;
  /// What of a new container would only fail at its start.
  base::Result<void> check(const Container& container) const;
  /// Most containers have the default seccomp filter; none of them shall wait for it.
  net::awaitable<void> prepare();

  /// Starts a machine with the container's process in it.
  net::awaitable<base::Result<Run>> launch(ContainerPtr container);
  /// Starts a machine that has nothing of the container but its files, for one process of the files
  /// tool. `sees_volumes`: also its volumes, of which the caller has the claim.
  net::awaitable<base::Result<StartedMachine>> launch_files_tool(ContainerPtr container,
                                                                 protocol::StartProcess process,
                                                                 std::shared_ptr<OutputSink> sink,
                                                                 bool sees_volumes);

  /// Goes on with the machine of a container that an earlier daemon started. An Error says how its
  /// run ended.
  net::awaitable<base::Result<Run>> adopt(ContainerPtr container);
  /// The machine of a container that has exited already: what it wrote may still be in the guest's
  /// memory only. kNotFound if there is none.
  net::awaitable<base::Result<Run>> adopt_ended(ContainerPtr container);
  /// Ends all machines of an earlier daemon that were not adopted.
  net::awaitable<void> remove_left_over() { return parts_.machines.remove_left_over(); }

 private:
  base::Result<void> check_room() const;
  /// For the container's next machine; committed.
  base::Result<void> renew_secret(Container& container);
  net::awaitable<base::Result<std::vector<EndpointLease>>> connect(ContainerPtr container);

  Parts parts_;
};

}  // namespace engine
