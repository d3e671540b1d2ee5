// HealthMonitor: probes the running containers that have a health check.
//
// Each run of a container has one coroutine, which makes at most one probe at a time. A probe is an
// exec that the daemon starts by itself. The coroutine ends with the run, whatever its probe does:
// the end of the machine ends the probe as well.
// Threads: the io_context thread. ContainerHealth and Execs outlive it. It must outlive its
// coroutines: shut the containers down, then co_await drained(). Spec: Docker Engine API 1.51,
// HealthConfig; the rules of counting are in health.h.
#pragma once

#include <chrono>
#include <memory>

#include "api/async/task_group.h"
#include "api/engine/containers/container_health.h"
#include "api/engine/execs/execs.h"
#include "api/engine/health/health.h"

namespace engine {

class HealthMonitor {
 public:
  /// Create before Containers::recover(). `start_timeout`: how long the guest may take to start a
  /// probe; this is not counted as the probe's own time.
  HealthMonitor(net::any_io_executor executor, ContainerHealth& health, Execs& execs,
                std::chrono::milliseconds start_timeout = std::chrono::seconds(30));
  ~HealthMonitor();
  HealthMonitor(const HealthMonitor&) = delete;
  HealthMonitor& operator=(const HealthMonitor&) = delete;

  /// How many runs are watched.
  std::size_t watched() const { return runs_.running(); }
  /// Completes when no run is watched and no probe runs any more.
  net::awaitable<void> drained();

 private:
  struct Run;
  struct Probe;

  net::awaitable<void> watch(Run run);
  net::awaitable<void> probe(Run& run);
  net::awaitable<void> begin_and_follow(std::shared_ptr<Probe> probe);
  net::awaitable<void> end(Run& run, std::shared_ptr<Probe> probe);
  /// Both complete at `due`, or earlier when something has changed.
  net::awaitable<void> sleep(std::chrono::steady_clock::time_point due, async::Notifier& changed);
  net::awaitable<void> wait(Run& run, Probe& probe, std::chrono::steady_clock::time_point due);
  void record(Run& run, TimeNs start, int exit_code, std::string output);

  net::any_io_executor executor_;
  ContainerHealth& health_;
  Execs& execs_;
  std::chrono::milliseconds start_timeout_;
  async::TaskGroup runs_;
  async::TaskGroup probes_;
};

}  // namespace engine
