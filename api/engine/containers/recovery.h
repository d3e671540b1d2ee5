// Recovery: brings the database and what is on the host together, when a daemon begins.
//
// Rows become containers; those whose machines live are taken over, those that died are settled,
// and what belongs to no container goes. Then restart policies act. Threads: the io_context thread.
// What it is given outlives it; run() is called once, before anything else is asked of the
// containers. Errors: a database or an image store that cannot be read. A damaged row is none: its
// container is set aside (container_row.h).
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "api/async/net.h"
#include "api/async/slots.h"
#include "api/engine/container/container_row.h"
#include "api/engine/containers/container_storage.h"
#include "api/engine/containers/container_table.h"
#include "api/engine/containers/container_volumes.h"
#include "api/engine/containers/launcher.h"
#include "api/engine/containers/removal.h"
#include "api/engine/containers/restart_policies.h"
#include "api/engine/containers/runs.h"

namespace engine {

class Recovery {
 public:
  struct Parts {
    ContainerTable& table;
    ContainerStorage& storage;
    ContainerVolumes& volumes;
    Launcher& launcher;
    Runs& runs;
    Removal& removal;
    RestartPolicies& policies;
  };

  explicit Recovery(Parts parts) : parts_(parts) {}

  net::awaitable<base::Result<void>> run();

 private:
  /// The IDs of all rows.
  base::Result<std::set<std::string>> load();
  void take_row(const ContainerRow& row);
  void set_aside(Container& container, const ContainerRow& row);
  /// Of one machine: its containers, running or not.
  using Crew = std::vector<ContainerPtr>;

  std::vector<Crew> crews() const;
  /// Adds those to `ended` that do not run any more.
  net::awaitable<void> recover_crew(Crew crew, net::awaitable<async::Slots::Slot> turn,
                                    std::shared_ptr<std::vector<ContainerPtr>> ended);
  /// Whether they run on.
  net::awaitable<bool> take_over(Crew running);
  net::awaitable<void> end_left_over(Crew crew);

  Parts parts_;
};

}  // namespace engine
