// Launcher: gets machines for containers: new ones, those of the containers whose namespaces they
// share, and those of an earlier daemon.
//
// Threads: the io_context thread. What Parts refers to outlives it. Whoever calls it holds the
// container's transition lock, and has seen the machine of its last run end.
// Errors are those that a start answers, in Docker's words; nothing is left of what was launched
// then, but for the container's process: its log has begun, and end() is the caller's.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "api/async/net.h"
#include "api/engine/attachments/attachments.h"
#include "api/engine/container/container.h"
#include "api/engine/container/container_events.h"
#include "api/engine/container/machine_spec.h"
#include "api/engine/containers/container_storage.h"
#include "api/engine/containers/container_table.h"
#include "api/engine/containers/container_volumes.h"
#include "api/engine/networks/network_catalog.h"
#include "api/engine/resources/admission.h"
#include "api/engine/security/seccomp_filters.h"
#include "api/engine/sharing/donors.h"
#include "api/machines/machine.h"

namespace engine {

/// What a run of a container holds until nothing of its machine uses the disk any more.
struct Run {
  std::shared_ptr<Machine> machine;
  std::int32_t pid = 0;  // of the main process in the guest; 0 if the machine was adopted
  VolumeClaim volumes;
  NameLease names;
};

class Launcher {
 public:
  struct Parts {
    Machines& machines;
    Attachments& attachments;
    NetworkCatalog& catalog;
    SeccompFilters& seccomp;
    ContainerTable& table;
    ContainerStorage& storage;
    ContainerVolumes& volumes;
    ContainerEvents& events;
    launch::Shape default_shape;
    std::uint64_t shared_bytes;  // of a machine that others may come into, at least
    std::function<base::Result<HostMemory>()> host_memory;
  };

  struct Started {
    std::shared_ptr<Machine> machine;  // null if `first.refusal` is set: nothing is left in it
    ProcessStart first;
  };

  explicit Launcher(Parts parts);

  /// Whether the host has as much memory as a container may use by `limits`.
  base::Result<void> check_limit(const Limits& limits) const;
  /// What a new container asks that this host cannot give, and would only say at its start.
  base::Result<void> check(const Settings& settings) const;
  /// Most containers have the default seccomp filter; none of them shall wait for it.
  net::awaitable<void> prepare();

  /// Starts the container's process, in a machine of its own, or in that of its donors
  /// (api/engine/sharing/donors.h).
  net::awaitable<base::Result<Run>> launch(ContainerPtr container);
  /// Starts a machine that has nothing of the container but its files, for one process of the files
  /// tool. `sees_volumes`: also its volumes, of which the caller has the claim.
  net::awaitable<base::Result<Started>> launch_files_tool(ContainerPtr container,
                                                          protocol::StartProcess process,
                                                          std::shared_ptr<OutputSink> sink,
                                                          bool sees_volumes);

  /// Goes on with the machine of containers that an earlier daemon started: all that ran in it.
  /// What else is in it goes. Their runs, in their order; an Error says how all of these ended.
  net::awaitable<base::Result<std::vector<Run>>> adopt(std::vector<ContainerPtr> containers);
  /// The machine of containers that have all exited already: what they wrote may still be in the
  /// guest's memory only. kNotFound if there is none.
  net::awaitable<base::Result<std::vector<Run>>> adopt_ended(std::vector<ContainerPtr> containers);
  /// Ends all machines of an earlier daemon that were not adopted.
  net::awaitable<void> remove_left_over() { return parts_.machines.remove_left_over(); }

 private:
  base::Result<void> check_room() const;
  /// A machine with its first container. On an Error nothing of it is left.
  net::awaitable<base::Result<Started>> begin(RunSpec spec, std::stop_token abandoned);
  net::awaitable<base::Result<void>> prepare_run(ContainerPtr container, launch::Shape& shape);
  net::awaitable<void> describe(ContainerPtr container, AdoptSpec& spec);
  net::awaitable<Run> resume(ContainerPtr container, std::shared_ptr<Machine> machine);
  /// Where the container's process begins to run.
  net::awaitable<base::Result<Started>> start(ContainerPtr container, RunSpec spec);
  /// Puts the container into its donors' machine. On an Error or a refusal nothing of it is there.
  net::awaitable<base::Result<Started>> join(ContainerPtr container, ContainerSpec spec);
  /// The container's next machine; committed.
  base::Result<void> renew_machine(Container& container, launch::Shape shape);
  /// The container's place in that of `donor`; committed. kResourceExhausted: it is full.
  base::Result<void> take_place(Container& container, const Container& donor);
  base::Result<void> take_names(Container& container, const Container& donor);
  /// With room for those that would come into it.
  launch::Shape shape_for_all(const Container& container) const;
  /// In a machine that is there. kConflict: it is too small for the container's limits.
  base::Result<void> check_fits(const Container& container, const Container& donor) const;
  FindContainer finder() const;
  ProcessId next_process();

  Parts parts_;
  std::uint32_t joined_;  // processes that were given a number by next_process()
};

}  // namespace engine
