// Removal: how a container goes, with its files and the volumes that were made for it.
//
// It ends within the time that README.md states, whatever the container's guest, its monitor, its
// clients and what else is done with it are up to; after an Error it may be tried again.
// Threads: the io_context thread. What Parts refers to outlives it. Once begun it runs to its end.
// Truth: the row goes first. Should the daemon die then, the next one removes the files.
// Errors carry Docker's sentences: kNotFound, kConflict for one that runs, kInternal for what
// cannot be killed.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "api/async/mutex.h"
#include "api/async/net.h"
#include "api/engine/container/container_events.h"
#include "api/engine/containers/background.h"
#include "api/engine/containers/container_storage.h"
#include "api/engine/containers/container_table.h"
#include "api/engine/containers/container_volumes.h"
#include "api/engine/containers/runs.h"

namespace engine {

struct RemoveOptions {
  bool force = false;    // also if it runs
  bool volumes = false;  // with the volumes that were made for it and have no name
};

struct PruneResult {
  std::vector<std::string> removed;
  std::uint64_t reclaimed_bytes = 0;
};

class Removal {
 public:
  struct Parts {
    ContainerTable& table;
    ContainerStorage& storage;
    ContainerVolumes& volumes;
    Runs& runs;
    ContainerEvents& events;
    Background& background;
    Patience patience;
  };

  explicit Removal(Parts parts) : parts_(std::move(parts)) {}

  net::awaitable<base::Result<void>> remove(ContainerPtr container, RemoveOptions options);
  /// All that do not run, are not set aside, and are `wanted`.
  net::awaitable<PruneResult> prune(std::function<bool(const Container&)> wanted);

  /// AutoRemove: after the exit, or after a failed start. In the background.
  void begin_auto_remove(const ContainerPtr& container);
  /// The build that it belonged to ended with an earlier daemon. In the background.
  void begin_remove_of_build(const ContainerPtr& container);

 private:
  net::awaitable<void> auto_remove(ContainerPtr container);
  net::awaitable<void> remove_of_build(ContainerPtr container);
  net::awaitable<base::Result<void>> remove_locked(ContainerPtr container, bool volumes_too);
  net::awaitable<async::Mutex::Lock> lock_to_remove(ContainerPtr container, bool force);
  net::awaitable<void> hurry(ContainerPtr container, std::shared_ptr<const bool> locked,
                             bool force);

  Parts parts_;
};

}  // namespace engine
