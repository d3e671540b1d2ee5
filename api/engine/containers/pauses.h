// Pauses: holds the processes of a container, for a person or while `docker commit` reads its
// files.
//
// Threads: the io_context thread. What it is given outlives it. Each operation runs to its end once
// begun. thaw_locked() is called with the transition lock held, or by Runs::kill(), which must not
// wait for that lock; the others take it.
// Errors carry Docker's sentences: kNotFound, kConflict; those of the machine.
#pragma once

#include "api/async/net.h"
#include "api/engine/container/container.h"
#include "api/engine/container/container_events.h"
#include "api/engine/containers/container_table.h"

namespace engine {

class Pauses {
 public:
  Pauses(ContainerTable& table, ContainerEvents& events) : table_(table), events_(events) {}

  net::awaitable<base::Result<void>> pause(ContainerPtr container);
  net::awaitable<base::Result<void>> unpause(ContainerPtr container);
  /// As unpause(), without the lock. A container that is not paused is left as it is.
  net::awaitable<base::Result<void>> thaw_locked(ContainerPtr container);

  /// Pauses a running container while its files become an image. True: it is paused now, and
  /// end_commit() must follow. False: a person had paused it, or it does not run, and is left as it
  /// is.
  net::awaitable<base::Result<bool>> begin_commit(ContainerPtr container);
  net::awaitable<void> end_commit(ContainerPtr container);
  /// Ends the pause of a commit in the middle of which the last daemon was killed.
  net::awaitable<void> end_interrupted_commit(ContainerPtr container);

 private:
  /// Freezes a running container. The caller holds the transition lock.
  net::awaitable<base::Result<void>> freeze(ContainerPtr container);

  ContainerTable& table_;
  ContainerEvents& events_;
};

}  // namespace engine
