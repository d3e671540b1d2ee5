// Runs: a container's run, from its start to its machine's end: start, stop, kill, exit.
//
// What becomes of the container afterwards is for the RunPolicy to say.
// Threads: the io_context thread. What Parts refers to outlives it. Each operation runs to its end
// once begun: callers await it shielded (async/shield.h) from a client that leaves. Names that end
// in _locked are called with the container's transition lock held; the others take it, but for
// kill() and end_by_force(), which come through while another operation waits.
// Truth: the state is committed before anybody is told of it.
// Errors carry Docker's sentences: kNotFound, kConflict, kInvalidArgument, kUnavailable; kInternal
// "tried to kill container, but did not receive an exit event".
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <vector>

#include "api/async/net.h"
#include "api/engine/container/container.h"
#include "api/engine/container/container_events.h"
#include "api/engine/container/container_waits.h"
#include "api/engine/containers/background.h"
#include "api/engine/containers/container_health.h"
#include "api/engine/containers/container_table.h"
#include "api/engine/containers/container_volumes.h"
#include "api/engine/containers/launcher.h"
#include "api/engine/containers/pauses.h"

namespace engine {

enum class StartResult { kStarted, kAlreadyRunning };
enum class StopResult { kStopped, kNotRunning };

/// What follows on a run. Called on the io_context thread, with nothing to wait for.
class RunPolicy {
 public:
  virtual ~RunPolicy() = default;

  /// Whether the container starts again by itself, as its state is now.
  virtual bool restarts(const Container& container) const = 0;
  /// The exit is recorded; `machine` is about to be shut down in order. `ran`: for how long.
  virtual void run_ended(const ContainerPtr& container, Machine& machine, TimeNs ran) = 0;
  virtual void start_failed(const ContainerPtr& container) = 0;
};

class Runs {
 public:
  struct Parts {
    Launcher& launcher;
    Attachments& attachments;
    ContainerTable& table;
    ContainerVolumes& volumes;
    ContainerHealth& health;
    Pauses& pauses;
    const NetworkCatalog& catalog;
    ContainerEvents& events;
    Background& background;
    Patience patience;
  };

  explicit Runs(Parts parts) : parts_(std::move(parts)) {}

  /// Before anything is started. `policy` outlives the runs.
  void follow_policy(RunPolicy& policy) { policy_ = &policy; }

  net::awaitable<base::Result<StartResult>> start(ContainerPtr container);
  net::awaitable<base::Result<void>> start_locked(ContainerPtr container);
  /// `timeout`: instead of the container's own; `signal` 0: the container's own.
  net::awaitable<base::Result<StopResult>> stop(ContainerPtr container,
                                                std::optional<std::chrono::seconds> timeout,
                                                int signal);
  /// The daemon ends: stops it as stop() does, soon, and as if no person had.
  net::awaitable<void> stop_at_shutdown(ContainerPtr container);
  net::awaitable<base::Result<void>> restart(ContainerPtr container,
                                             std::optional<std::chrono::seconds> timeout,
                                             int signal);
  net::awaitable<base::Result<void>> kill(ContainerPtr container, int signal);
  /// SIGKILL; then the plug. Returns when the exit is recorded, or with dockerd's Error if that
  /// takes too long.
  net::awaitable<base::Result<void>> kill_locked(ContainerPtr container);
  /// SIGKILL; then the plug. Not behind the lock: whoever has that (a stop that waits out its
  /// timeout, a request that the guest does not answer) comes to its end by this.
  net::awaitable<void> end_by_force(ContainerPtr container);
  net::awaitable<base::Result<void>> resize(ContainerPtr container, std::uint16_t rows,
                                            std::uint16_t columns);

  /// Goes on with what an earlier daemon began: with a run whose machine was adopted, with one that
  /// did not survive, or with the machine of some that had all ended.
  net::awaitable<void> take_over(ContainerPtr container, Run run);
  net::awaitable<void> record_loss(ContainerPtr container, base::Error how);
  net::awaitable<void> end_left_over(std::vector<ContainerPtr> containers, std::vector<Run> runs);

 private:
  net::awaitable<void> end_machine(ContainerPtr container, Run run);
  net::awaitable<bool> leave(ContainerPtr container, const Run& run,
                             std::chrono::milliseconds timeout);
  net::awaitable<void> start_failed(ContainerPtr container, base::Error error);
  /// `taken_over`: when this daemon took over a run that an earlier one began; 0 for one of its
  /// own.
  net::awaitable<void> follow(ContainerPtr container, Run run, TimeNs taken_over);
  net::awaitable<void> record_exit(ContainerPtr container, base::Result<protocol::ExitStatus> exit,
                                   TimeNs now);
  net::awaitable<base::Result<StopResult>> stop_locked(ContainerPtr container,
                                                       std::chrono::seconds timeout, int signal);
  net::awaitable<base::Result<void>> send_signal(ContainerPtr container, int signal);

  Parts parts_;
  RunPolicy* policy_ = nullptr;
};

}  // namespace engine
