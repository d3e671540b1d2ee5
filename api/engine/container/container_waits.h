// Waiting for what becomes of a container.
//
// Threads: the io_context thread. Each of these holds the container, so that it may be removed
// meanwhile, and may be cancelled.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "api/async/net.h"
#include "api/engine/container/container.h"

namespace engine {

/// How long what hangs is waited for, before something stronger is done. README.md states what they
/// add up to for a removal.
struct Patience {
  /// Until a killed process is reported; then its machine's plug is pulled.
  std::chrono::milliseconds kill{10'000};
  /// From then until the end of the run is known; then the request fails.
  std::chrono::milliseconds plug{30'000};
  /// For a machine that has volumes to write back, after its container has exited.
  std::chrono::milliseconds volumes{120'000};
  /// For a copy of a container's files that is in the way of a removal without force.
  std::chrono::milliseconds copy{10'000};

  /// For the machine of a run that is over.
  std::chrono::milliseconds teardown() const { return volumes + plug; }
};

enum class WaitCondition { kNotRunning, kNextExit, kRemoved };

struct WaitResult {
  int exit_code = 0;
  std::string error;
};

/// Completes when `condition` holds. `exits`: container->run.exits when the client asked.
net::awaitable<WaitResult> wait(ContainerPtr container, WaitCondition condition,
                                std::uint64_t exits);

/// Whether it exits within `timeout`, as seen from `exits`. A negative timeout has no end.
net::awaitable<bool> wait_for_exit(ContainerPtr container, std::uint64_t exits,
                                   std::chrono::milliseconds timeout);

/// Whether within `timeout` the machine of its last run is gone, and has written back what it had.
net::awaitable<bool> wait_for_teardown(ContainerPtr container, std::chrono::milliseconds timeout);

/// Completes at `due`, or earlier when something of the container has changed.
net::awaitable<void> wait_for_change(ContainerPtr container,
                                     std::chrono::steady_clock::time_point due);

}  // namespace engine
