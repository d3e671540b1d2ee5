#include "api/engine/containers/runs.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/this_coro.hpp>
#include <csignal>
#include <sstream>
#include <string>
#include <utility>

#include "api/engine/container/container_row.h"
#include "api/engine/container/state_errors.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;

namespace {

/// How long a guest may take to write its disk back after its container has exited.
constexpr std::chrono::milliseconds kShutdownTimeout{20'000};
/// However long a container's own timeout is: the daemon's end waits for all of them.
constexpr std::chrono::seconds kLongestStop{120};

/// Of a container whose machine was lost.
constexpr int kExitCodeUnknown = 255;

/// The guest's last lines, each as one of the log's (program/log.h makes them printable).
void log_end(const Container& container, const MachineEnd& end) {
  spdlog::warn("container {}: its machine ended: {}", container.short_id(), end.message);
  std::istringstream console(end.console_tail);
  for (std::string line; std::getline(console, line);)
    spdlog::warn("container {}: console: {}", container.short_id(), line);
}

}  // namespace

net::awaitable<Result<StartResult>> Runs::start(ContainerPtr container) {
  const auto lock = co_await container->run.transition.lock();
  if (container->removal.done) co_return no_such_container(container->id);
  if (container->state.status == Status::kPaused)
    co_return Error{Code::kConflict, "cannot start a paused container, try unpause instead"};
  if (container->state.running()) co_return StartResult::kAlreadyRunning;
  if (parts_.background.ending()) co_return daemon_is_ending();
  container->state.manually_stopped = false;
  container->state.restart_count = 0;
  const auto started = co_await start_locked(container);
  if (!started) co_return started.error();
  co_return StartResult::kStarted;
}

net::awaitable<Result<void>> Runs::start_locked(ContainerPtr container) {
  if (container->removal.under_way > 0) co_return not_to_be_started();
  RETURN_IF_ERROR_ASYNC(check_not_set_aside(*container));
  const bool free = co_await wait_for_teardown(container, parts_.patience.teardown());
  if (!free) co_return machine_does_not_end();
  auto launched = co_await parts_.launcher.launch(container);
  if (!launched) {
    co_await start_failed(container, launched.error());
    co_return std::move(launched).error();
  }
  ContainerState& state = container->state;
  state.status = Status::kRunning;
  state.started_at = now_ns();
  state.finished_at = 0;
  state.exit_code = 0;
  state.oom_killed = false;
  state.error.clear();
  state.machine.pid = launched->machine->monitor_pid();
  parts_.health.begin(*container);
  container->run.machine = launched->machine;
  if (const auto committed = parts_.table.commit(*container); !committed) {
    // Nobody may see a container run that the database does not know to run.
    if (has_machine_alone(*container)) container->run.machine->kill();
    state.status = Status::kExited;
    parts_.background.spawn("end machine", end_machine(container, *std::move(launched)));
    co_await start_failed(container, committed.error());
    co_return committed.error();
  }
  container->run.process->begin(launched->machine, launched->pid);
  parts_.events.publish(*container, "start");
  parts_.background.spawn("container " + container->short_id(),
                          follow(container, *std::move(launched), 0));
  parts_.health.observe(container);
  parts_.background.spawn("links to " + container->short_id(),
                          parts_.attachments.tell_linkers(container));
  container->changed.notify_all();
  co_return Result<void>();
}

/// The container stays as it was, with the error and an exit code; those attached are let go.
net::awaitable<void> Runs::start_failed(ContainerPtr container, Error error) {
  const net::any_io_executor executor = co_await net::this_coro::executor;
  ContainerState& state = container->state;
  const int exit_code = state.exit_code == 0 ? 128 : state.exit_code;
  co_await container->run.process->end(exit_code);
  state.exit_code = exit_code;
  state.error = error.message;
  state.machine.endpoints.clear();
  container->run.ports.clear();
  state.machine.ports.clear();
  parts_.table.commit_or_log(*container);
  expect_run(*container, executor);
  container->changed.notify_all();
  policy_->start_failed(container);
}

net::awaitable<void> Runs::follow(ContainerPtr container, Run run, TimeNs taken_over) {
  const auto exit = co_await container->run.process->wait_exit();
  TimeNs ended = now_ns();
  // While there was no daemon only the guest's clock saw the end. Else it is not asked: it may be
  // wrong, or made wrong.
  if (exit && exit->time_ns < taken_over)
    ended = std::max(exit->time_ns, container->state.started_at);
  const TimeNs ran = ended - container->state.started_at;
  // What others may have now that nobody serves it any more.
  container->run.ports.clear();
  run.names = NameLease();
  co_await record_exit(container, exit, ended);
  policy_->run_ended(container, *run.machine, ran);
  co_await end_machine(container, std::move(run));
}

net::awaitable<void> Runs::record_exit(ContainerPtr container, Result<protocol::ExitStatus> exit,
                                       TimeNs now) {
  const net::any_io_executor executor = co_await net::this_coro::executor;
  ContainerState& state = container->state;
  const int exit_code = exit ? exit_code_of(*exit) : kExitCodeUnknown;
  co_await container->run.process->end(exit_code);
  expect_run(*container, executor);
  state.exit_code = exit_code;
  state.oom_killed = exit && exit->oom_killed;
  state.error = exit ? "" : exit.error().message;
  if (!exit) spdlog::error("container {}: {}", container->short_id(), exit.error().message);
  state.finished_at = now;
  state.machine.pid = 0;
  state.paused_to_commit = false;
  if (state.health) stop_checks(*state.health);
  state.status = policy_->restarts(*container) ? Status::kRestarting : Status::kExited;
  const auto endpoints = std::exchange(state.machine.endpoints, {});
  container->run.ports.clear();
  state.machine.ports.clear();
  parts_.table.commit_or_log(*container);

  if (state.oom_killed) parts_.events.publish(*container, "oom");
  for (const Endpoint& endpoint : endpoints)
    parts_.catalog.publish_disconnected(container->id, endpoint);
  parts_.events.publish_unmounted(*container);
  parts_.events.publish(
      *container, "die",
      {{"exitCode", std::to_string(state.exit_code)},
       {"execDuration", std::to_string((now - state.started_at) / 1'000'000'000)}});
  ++container->run.exits;
  container->changed.notify_all();
}

net::awaitable<void> Runs::end_machine(ContainerPtr container, Run run) {
  const bool has_volumes = parts_.volumes.lasts(*container, false);
  const std::chrono::milliseconds timeout =
      has_volumes ? parts_.patience.volumes : kShutdownTimeout;
  const bool ends = has_machine_alone(*container) || co_await leave(container, run, timeout);
  if (ends) {
    co_await run.machine->shutdown(timeout);
    const MachineEnd end = co_await run.machine->wait_stopped();
    if (end.reason != EndReason::kRequested && end.reason != EndReason::kGuestShutdown)
      log_end(*container, end);
  }
  if (container->run.machine == run.machine) container->run.machine.reset();
  run.volumes.give_back();
  container->changed.notify_all();
}

/// Others run on in its machine, and keep it. The network goes with the container that it is of, as
/// with Docker, so that the next run may have its address. Whether nobody is left after all: those
/// that leave at the same time are in each other's way, and the last one ends the machine.
net::awaitable<bool> Runs::leave(ContainerPtr container, const Run& run,
                                 std::chrono::milliseconds timeout) {
  const MachineRecord place = container->state.machine;
  const std::shared_ptr<Machine> machine = run.machine;
  if (place.own())
    if (const auto done = co_await machine->disconnect();
        !done && done.error().code != Code::kUnavailable)
      spdlog::warn("container {}: {}", container->short_id(), done.error().message);
  const auto removed = co_await machine->remove_container(place.number, timeout);
  if (!removed && removed.error().code != Code::kUnavailable)
    spdlog::warn("container {}: leave its machine: {}", container->short_id(),
                 removed.error().message);
  machine->forget_process(place.process);
  co_return machine->containers().empty();
}

net::awaitable<void> Runs::end_left_over(std::vector<ContainerPtr> containers,
                                         std::vector<Run> runs) {
  const bool has_volumes = std::any_of(
      containers.begin(), containers.end(),
      [&](const ContainerPtr& container) { return parts_.volumes.lasts(*container, false); });
  const std::shared_ptr<Machine> machine = runs.front().machine;
  co_await machine->shutdown(has_volumes ? parts_.patience.volumes : kShutdownTimeout);
  co_await machine->wait_stopped();
}

net::awaitable<Result<void>> Runs::send_signal(ContainerPtr container, int signal) {
  parts_.events.publish(*container, "kill", {{"signal", std::to_string(signal)}});
  const ProcessPtr process = container->run.process;
  co_return co_await process->signal(signal);
}

net::awaitable<Result<void>> Runs::kill_locked(ContainerPtr container) {
  const std::uint64_t exits = container->run.exits;
  const auto sent = co_await send_signal(container, SIGKILL);
  const bool gone = sent && co_await wait_for_exit(container, exits, parts_.patience.kill);
  if (gone) co_return Result<void>();
  spdlog::warn("container {} does not die: its machine is ended", container->short_id());
  if (container->run.machine) container->run.machine->kill();
  const bool ended = co_await wait_for_exit(container, exits, parts_.patience.plug);
  if (ended) co_return Result<void>();
  co_return Error{Code::kInternal, "tried to kill container, but did not receive an exit event"};
}

net::awaitable<Result<StopResult>> Runs::stop_locked(ContainerPtr container,
                                                     std::chrono::seconds timeout, int signal) {
  container->state.manually_stopped = true;
  if (const auto committed = parts_.table.commit(*container); !committed)
    co_return committed.error();
  const std::uint64_t exits = container->run.exits;
  const auto sent = co_await send_signal(container, signal);
  if (!sent) spdlog::warn("stop {}: {}", container->short_id(), sent.error().message);
  const auto thawed = co_await parts_.pauses.thaw_locked(container);  // else the signal would wait
  if (!thawed) spdlog::warn("{}", thawed.error().message);
  const bool exited = co_await wait_for_exit(container, exits, timeout);
  if (!exited) {
    const auto killed = co_await kill_locked(container);
    if (!killed) co_return base::annotate(killed.error(), "cannot stop container");
  }
  parts_.events.publish(*container, "stop");
  co_return StopResult::kStopped;
}

net::awaitable<Result<StopResult>> Runs::stop(ContainerPtr container,
                                              std::optional<std::chrono::seconds> timeout,
                                              int signal) {
  const auto lock = co_await container->run.transition.lock();
  if (container->removal.done) co_return no_such_container(container->id);
  if (container->state.status == Status::kRestarting) {
    container->state.manually_stopped = true;
    container->state.status = Status::kExited;
    if (const auto committed = parts_.table.commit(*container); !committed)
      co_return committed.error();
    container->changed.notify_all();
    co_return StopResult::kStopped;
  }
  if (!container->state.running()) co_return StopResult::kNotRunning;
  co_return co_await stop_locked(container,
                                 timeout.value_or(container->settings.process.stop_timeout),
                                 signal != 0 ? signal : container->settings.process.stop_signal);
}

net::awaitable<Result<void>> Runs::restart(ContainerPtr container,
                                           std::optional<std::chrono::seconds> timeout,
                                           int signal) {
  const auto lock = co_await container->run.transition.lock();
  if (container->removal.done) co_return no_such_container(container->id);
  if (container->state.running()) {
    const auto limit = timeout.value_or(container->settings.process.stop_timeout);
    const int with = signal != 0 ? signal : container->settings.process.stop_signal;
    const auto stopped = co_await stop_locked(container, limit, with);
    if (!stopped) co_return stopped.error();
  }
  container->state.manually_stopped = false;
  const auto started = co_await start_locked(container);
  if (!started) co_return started.error();
  parts_.events.publish(*container, "restart");
  co_return Result<void>();
}

net::awaitable<Result<void>> Runs::kill(ContainerPtr container, int signal) {
  if (!container->state.running()) co_return not_running(*container);
  if (signal == SIGKILL || signal == container->settings.process.stop_signal) {
    container->state.manually_stopped = true;
    if (const auto committed = parts_.table.commit(*container); !committed)
      co_return committed.error();
  }
  if (signal == SIGKILL) {
    auto killed = co_await kill_locked(container);
    if (!killed) co_return base::annotate(std::move(killed), "cannot kill container");
    co_return killed;
  }
  auto sent = co_await send_signal(container, signal);
  if (!sent) co_return std::move(sent).error();
  co_return co_await parts_.pauses.thaw_locked(container);
}

net::awaitable<Result<void>> Runs::resize(ContainerPtr container, std::uint16_t rows,
                                          std::uint16_t columns) {
  const ProcessPtr process = container->run.process;
  if (!container->state.running() || !process->running()) co_return not_running(*container);
  auto resized = co_await process->resize(rows, columns);
  if (!resized) co_return std::move(resized).error();
  parts_.events.publish(*container, "resize",
                        {{"height", std::to_string(rows)}, {"width", std::to_string(columns)}});
  co_return Result<void>();
}

net::awaitable<void> Runs::end_by_force(ContainerPtr container) {
  const std::shared_ptr<Machine> machine = container->run.machine;
  if (!container->state.running() || !machine) co_return;
  container->state.manually_stopped = true;
  const std::uint64_t exits = container->run.exits;
  const ProcessPtr process = container->run.process;
  const auto sent = co_await process->signal(SIGKILL);
  const bool answers = sent || sent.error().code != Code::kDeadlineExceeded;
  const bool ended = answers && co_await wait_for_exit(container, exits, parts_.patience.kill);
  if (!ended && container->run.exits == exits) machine->kill();
}

net::awaitable<void> Runs::stop_at_shutdown(ContainerPtr container) {
  const auto lock = co_await container->run.transition.lock();
  if (!container->state.running()) co_return;
  const bool was_stopped = container->state.manually_stopped;
  auto timeout = container->settings.process.stop_timeout;
  if (timeout.count() < 0 || timeout > kLongestStop) timeout = kLongestStop;
  const auto stopped =
      co_await stop_locked(container, timeout, container->settings.process.stop_signal);
  if (!stopped) spdlog::error("stop {}: {}", container->short_id(), stopped.error().message);
  container->state.manually_stopped = was_stopped;  // unless-stopped: it was not a person
  if (!container->removal.done) parts_.table.commit_or_log(*container);
}

net::awaitable<void> Runs::take_over(ContainerPtr container, Run run) {
  container->run.machine = run.machine;
  container->run.process->begin(run.machine, run.pid);
  container->state.machine.pid = run.machine->monitor_pid();
  parts_.background.spawn("container " + container->short_id(),
                          follow(container, std::move(run), now_ns()));
  parts_.health.observe(container);
  co_await parts_.pauses.end_interrupted_commit(container);
}

net::awaitable<void> Runs::record_loss(ContainerPtr container, Error how) {
  Result<protocol::ExitStatus> lost = std::move(how);
  co_await record_exit(container, std::move(lost), now_ns());
}

}  // namespace engine
