// ContainerHealth: keeps the health in a container's state, as runs begin and probes end.
//
// Threads: the io_context thread. What it is given outlives it. The rules of counting are in
// health.h; who probes is not known here.
#pragma once

#include <functional>

#include "api/engine/container/container.h"
#include "api/engine/container/container_events.h"
#include "api/engine/containers/container_table.h"
#include "api/engine/health/health.h"

namespace engine {

class ContainerHealth {
 public:
  ContainerHealth(ContainerTable& table, ContainerEvents& events)
      : table_(table), events_(events) {}

  /// `observer` is told of every container with a health check whose process begins to run or was
  /// taken over. Set before the recovery; empty: nobody probes.
  void on_run(std::function<void(ContainerPtr, HealthCheck)> observer) {
    observer_ = std::move(observer);
  }

  /// Begins the checks of a run. The caller commits the container's state afterwards.
  void begin(Container& container);
  /// Tells the observer that the container's process runs, or was found running.
  void observe(const ContainerPtr& container);
  /// A probe's result: commits and publishes a change of the container's health.
  void record(const ContainerPtr& container, const HealthCheck& check, HealthResult result);
  /// Takes note that the container is paused, and so not probed.
  void suspend(const ContainerPtr& container);

 private:
  ContainerTable& table_;
  ContainerEvents& events_;
  std::function<void(ContainerPtr, HealthCheck)> observer_;
};

}  // namespace engine
