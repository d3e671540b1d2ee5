// Removal: removes a container, with its files and the volumes that were made for it.
//
// It ends within the time that the top README.md states, whatever the container's guest, its
// monitor, its clients and what else is done with it are up to; after an Error it may be tried
// again.
// Threads: the io_context thread. What Parts refers to outlives it. Once begun it runs to its end.
// Truth: the row goes first. Should the daemon die then, the next one removes the files.
// Errors carry Docker's sentences: kNotFound, kConflict for one that runs, kInternal for what
// cannot be killed.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
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

/// Nothing in it needs a destructor: it is written into arguments of co_await (async/net.h).
struct RemoveOptions {
  bool force = false;    // also if it runs
  bool volumes = false;  // with the volumes that were made for it and have no name
};
static_assert(std::is_trivially_destructible_v<RemoveOptions>);

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

  /// `named`: how an Error calls the container, which a client may not call by its name.
  net::awaitable<base::Result<void>> remove(ContainerPtr container, RemoveOptions options,
                                            std::string named);
  /// Removes all containers that do not run, are not set aside, and are `wanted`.
  net::awaitable<PruneResult> prune(std::function<bool(const Container&)> wanted);

  /// Removes, in the background, a container with AutoRemove: after its exit, or a failed start.
  void begin_auto_remove(const ContainerPtr& container);
  /// Removes, in the background, a container of a build that ended with an earlier daemon.
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
