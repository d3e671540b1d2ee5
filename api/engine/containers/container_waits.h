// Waiting for what becomes of a container.
//
// Threads: the io_context thread. Each of these holds the container, so that it may be removed
// meanwhile, and may be cancelled.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "api/async/net.h"
#include "api/engine/containers/container.h"

namespace engine {

enum class WaitCondition { kNotRunning, kNextExit, kRemoved };

struct WaitResult {
  int exit_code = 0;
  std::string error;
};

/// Completes when `condition` holds. `exits`: container->exits when the client asked.
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
