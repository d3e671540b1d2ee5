// Containers: start, exit, stop, kill.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <csignal>
#include <sstream>
#include <string>

#include "api/engine/containers/container_row.h"
#include "api/engine/containers/containers.h"
#include "api/engine/containers/machine_spec.h"
#include "api/engine/containers/state_errors.h"
#include "api/engine/state/identifiers.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;
using namespace std::chrono_literals;

namespace {

/// How long a guest may take to write its disk back after its container has exited.
constexpr std::chrono::milliseconds kShutdownTimeout{20'000};
constexpr std::chrono::milliseconds kFirstRestartDelay{100};
constexpr std::chrono::milliseconds kLongestRestartDelay{60'000};

/// As dockerd has it.
Error being_removed() {
  return {Code::kConflict, "container is marked for removal and cannot be started"};
}

int exit_code_of(const protocol::ExitStatus& status) {
  return status.signaled ? 128 + status.code : status.code & 0xff;
}

}  // namespace

net::awaitable<Result<StartResult>> Containers::start(ContainerPtr container) {
  const auto lock = co_await container->transition.lock();
  if (container->removed) co_return no_such_container(container->id);
  if (container->state.status == Status::kPaused)
    co_return Error{Code::kConflict, "cannot start a paused container, try unpause instead"};
  if (container->state.running()) co_return StartResult::kAlreadyRunning;
  if (shutting_down_) co_return Error{Code::kUnavailable, "the daemon is shutting down"};
  container->state.manually_stopped = false;
  container->state.restart_count = 0;
  const auto started = co_await start_locked(container);
  if (!started) co_return started.error();
  co_return StartResult::kStarted;
}

net::awaitable<Result<void>> Containers::start_locked(ContainerPtr container) {
  if (container->removals > 0) co_return being_removed();
  RETURN_IF_ERROR_ASYNC(check_not_set_aside(*container));
  const bool free = co_await machine_ends(container);
  if (!free)
    co_return Error{Code::kUnavailable, "the machine of the container's last run does not end"};
  auto launched = co_await launch(container);
  if (!launched) {
    release_volumes(container);
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
  state.pid = launched->machine->monitor_pid();
  begin_health(container);
  container->machine = launched->machine;
  if (const auto committed = commit(*container); !committed) {
    // Nobody may see a container run that the database does not know to run.
    container->machine->kill();
    state.status = Status::kExited;
    tasks_.spawn("end machine", end_machine(container, launched->machine));
    co_await start_failed(container, committed.error());
    co_return committed.error();
  }
  publish(*container, "start");
  tasks_.spawn("container " + container->short_id(), follow(container, launched->machine, 0));
  observe_run(container);
  container->changed.notify_all();
  co_return Result<void>();
}

net::awaitable<Result<std::vector<EndpointLease>>> Containers::connect(ContainerPtr container) {
  std::vector<EndpointLease> endpoints;
  const std::string mode = container->settings.network_mode();
  if (mode == "none") co_return std::move(endpoints);
  auto endpoint = co_await parts_.networks.connect(mode);
  if (!endpoint && endpoint.error().code == Code::kNotFound)
    co_return Error{Code::kNotFound, "network " + mode.substr(0, 128) + " not found"};
  if (!endpoint) co_return std::move(endpoint).error();
  endpoints.push_back(*std::move(endpoint));
  co_return std::move(endpoints);
}

// The signature policy, as it is now: it may have changed since the container was made.
net::awaitable<Result<void>> Containers::check_image(ContainerPtr container) {
  if (!parts_.images.has_admission()) co_return Result<void>();
  const std::function<Result<void>()> ask = [&store = parts_.images, id = container->image_id] {
    return store.may_run(id);
  };
  co_return co_await parts_.pool.run(ask);
}

Result<void> Containers::renew_secret(Container& container) {
  container.state.machine_secret = random_secret();
  return commit(container);
}

net::awaitable<Result<Containers::Launch>> Containers::launch(ContainerPtr container) {
  RETURN_IF_ERROR_ASYNC(check_room());
  if (auto allowed = co_await check_image(container); !allowed)
    co_return std::move(allowed).error();
  RETURN_IF_ERROR_ASYNC(renew_secret(*container));
  if (auto logging = co_await begin_log(container, false); !logging)
    co_return base::annotate(std::move(logging).error(), "failed to create task for container");
  auto claimed = co_await claim_volumes(container);
  if (!claimed) co_return std::move(claimed).error();
  auto endpoints = co_await connect(container);
  if (!endpoints) co_return std::move(endpoints).error();
  std::optional<Endpoint> endpoint;
  if (!endpoints->empty()) endpoint = endpoints->front().endpoint();
  const nlohmann::json& host = container->settings.host_config;
  StartContext context{.endpoint = endpoint,
                       .resolv_conf = parts_.networks.resolv_conf(
                           host.at("Dns"), host.at("DnsSearch"), host.at("DnsOptions")),
                       .default_shape = parts_.default_shape,
                       .mount_disks = mount_disks(*container)};
  auto spec = machine_spec_for(*container, std::move(context));
  if (!spec) co_return std::move(spec).error();
  spec->endpoints = *std::move(endpoints);
  auto filter = co_await seccomp_filter_for(parts_.seccomp, container);
  if (!filter) co_return std::move(filter).error();
  apply_seccomp_filter(*filter, spec->process);
  const std::string argv0 = spec->process.argv.at(0);
  container->launching = std::stop_source();
  spec->abandoned = container->launching.get_token();
  auto started = co_await parts_.machines.start(*std::move(spec));
  if (!started) co_return std::move(started).error();
  if (started->first.refusal) {
    const StartRefusal refusal = explain_refusal(*started->first.refusal, argv0);
    container->state.exit_code = refusal.exit_code;
    // dockerd looks the user up itself, before it makes a task.
    if (started->first.refusal->kind == protocol::FailureKind::kNoSuchUser)
      co_return Error{Code::kInternal, refusal.message};
    co_return Error{Code::kInvalidArgument,
                    "failed to create task for container: " + refusal.message};
  }
  container->state.endpoint = std::move(endpoint);
  if (container->state.endpoint)
    parts_.events.publish_connected(*container, *container->state.endpoint);
  parts_.events.publish_mounted(*container);
  co_return Launch{.machine = std::move(started->machine), .guest_pid = started->first.pid};
}

/// The container stays as it was, with the error and an exit code; those attached are let go.
net::awaitable<void> Containers::start_failed(ContainerPtr container, Error error) {
  co_await container->output->finish();
  ContainerState& state = container->state;
  state.error = error.message;
  if (state.exit_code == 0) state.exit_code = 128;
  state.endpoint.reset();
  if (const auto committed = commit(*container); !committed)
    spdlog::error("{}", committed.error().message);
  container->output = std::make_shared<OutputHub>(parts_.executor);
  container->changed.notify_all();
  if (container->settings.auto_remove())
    tasks_.spawn("remove " + container->short_id(), remove_by_itself(container));
}

net::awaitable<void> Containers::follow(ContainerPtr container, std::shared_ptr<Machine> machine,
                                        TimeNs taken_over) {
  const auto exit = co_await machine->wait_exit(kMainProcess);
  TimeNs ended = now_ns();
  // While there was no daemon only the guest's clock saw the end. Else it is not asked: it may be
  // wrong, or made wrong.
  if (exit && exit->time_ns < taken_over)
    ended = std::max(exit->time_ns, container->state.started_at);
  const TimeNs ran = ended - container->state.started_at;
  co_await record_exit(container, exit, ended);
  const bool remove = container->settings.auto_remove();
  const bool restart = !remove && should_restart(*container);
  if (remove) {
    if (!has_lasting_volumes(*container, true)) machine->kill();  // its disk goes anyway
    tasks_.spawn("remove " + container->short_id(), remove_by_itself(container));
  } else if (restart) {
    // A run of ten seconds or more counts as a success: the delay starts again from the shortest.
    if (ran >= 10'000'000'000) container->state.restart_count = 0;
    const auto doublings = std::min<std::int64_t>(container->state.restart_count, 16);
    const auto delay = std::min(kLongestRestartDelay, kFirstRestartDelay * (1 << doublings));
    tasks_.spawn("restart " + container->short_id(), restart_later(container, delay));
  }
  co_await end_machine(container, machine);
}

net::awaitable<void> Containers::record_exit(ContainerPtr container,
                                             Result<protocol::ExitStatus> exit, TimeNs now) {
  ContainerState& state = container->state;
  co_await container->output->finish();
  container->output = std::make_shared<OutputHub>(parts_.executor);
  state.exit_code = exit ? exit_code_of(*exit) : 255;
  state.oom_killed = exit && exit->oom_killed;
  state.error = exit ? "" : exit.error().message;
  if (!exit) spdlog::error("container {}: {}", container->short_id(), exit.error().message);
  state.finished_at = now;
  state.pid = 0;
  state.paused_to_commit = false;
  if (state.health) stop_checks(*state.health);
  state.status = should_restart(*container) ? Status::kRestarting : Status::kExited;
  const std::optional<Endpoint> endpoint = std::exchange(state.endpoint, std::nullopt);
  if (const auto committed = commit(*container); !committed)
    spdlog::error("{}", committed.error().message);

  if (state.oom_killed) publish(*container, "oom");
  if (endpoint) parts_.events.publish_disconnected(*container, *endpoint);
  parts_.events.publish_unmounted(*container);
  publish(*container, "die",
          {{"exitCode", std::to_string(state.exit_code)},
           {"execDuration", std::to_string((now - state.started_at) / 1'000'000'000)}});
  ++container->exits;
  container->changed.notify_all();
}

/// The guest's last lines, each as one of the log's (program/log.h makes them printable).
static void log_end(const Container& container, const MachineEnd& end) {
  spdlog::warn("container {}: its machine ended: {}", container.short_id(), end.message);
  std::istringstream console(end.console_tail);
  for (std::string line; std::getline(console, line);)
    spdlog::warn("container {}: console: {}", container.short_id(), line);
}

net::awaitable<void> Containers::end_machine(ContainerPtr container,
                                             std::shared_ptr<Machine> machine) {
  const bool has_volumes = has_lasting_volumes(*container, false);
  co_await machine->shutdown(has_volumes ? parts_.patience.volumes : kShutdownTimeout);
  const MachineEnd end = co_await machine->wait_stopped();
  if (end.reason != EndReason::kRequested && end.reason != EndReason::kGuestShutdown)
    log_end(*container, end);
  if (container->machine == machine) {
    container->machine.reset();
    release_volumes(container);
  }
  container->changed.notify_all();
}

bool Containers::should_restart(const Container& container) const {
  if (shutting_down_ || container.removed || container.state.manually_stopped) return false;
  const RestartPolicy policy = container.settings.restart_policy();
  switch (policy.kind) {
    case RestartPolicy::Kind::kNo:
      return false;
    case RestartPolicy::Kind::kAlways:
    case RestartPolicy::Kind::kUnlessStopped:
      return true;
    case RestartPolicy::Kind::kOnFailure:
      return container.state.exit_code != 0 &&
             (policy.maximum_retries == 0 ||
              container.state.restart_count < policy.maximum_retries);
  }
  return false;
}

net::awaitable<void> Containers::restart_later(ContainerPtr container,
                                               std::chrono::milliseconds delay) {
  const auto due = std::chrono::steady_clock::now() + delay;
  while (container->state.status == Status::kRestarting && !container->removed && !shutting_down_ &&
         std::chrono::steady_clock::now() < due) {
    co_await wait_for_change(container, due);
  }
  const auto lock = co_await container->transition.lock();
  if (container->state.status != Status::kRestarting || container->removed ||
      container->removals > 0)
    co_return;
  if (shutting_down_) {
    container->state.status = Status::kExited;
    if (const auto committed = commit(*container); !committed)
      spdlog::error("{}", committed.error().message);
    co_return;
  }
  ++container->state.restart_count;
  const auto started = co_await start_locked(container);
  if (started) co_return;
  spdlog::error("restart of container {}: {}", container->short_id(), started.error().message);
  container->state.status = Status::kExited;
  if (const auto committed = commit(*container); !committed)
    spdlog::error("{}", committed.error().message);
  container->changed.notify_all();
}

net::awaitable<Result<void>> Containers::send_signal(ContainerPtr container, int signal) {
  publish(*container, "kill", {{"signal", std::to_string(signal)}});
  const std::shared_ptr<Machine> machine = container->machine;
  if (!machine) co_return Result<void>();
  auto sent = co_await machine->signal(kMainProcess, signal);
  // It exited, or its machine ended, in the same moment: that is what was wanted.
  if (!sent && sent.error().code != Code::kNotFound && sent.error().code != Code::kUnavailable)
    co_return std::move(sent).error();
  co_return Result<void>();
}

/// SIGKILL; then the plug. Returns when the exit is recorded, or with dockerd's Error if that takes
/// too long.
net::awaitable<Result<void>> Containers::kill_locked(ContainerPtr container) {
  const std::uint64_t exits = container->exits;
  const auto sent = co_await send_signal(container, SIGKILL);
  const bool gone = sent && co_await wait_for_exit(container, exits, parts_.patience.kill);
  if (gone) co_return Result<void>();
  spdlog::warn("container {} does not die: its machine is ended", container->short_id());
  if (container->machine) container->machine->kill();
  const bool ended = co_await wait_for_exit(container, exits, parts_.patience.plug);
  if (ended) co_return Result<void>();
  co_return Error{Code::kInternal, "tried to kill container, but did not receive an exit event"};
}

net::awaitable<bool> Containers::machine_ends(ContainerPtr container) {
  return wait_for_teardown(container, parts_.patience.volumes + parts_.patience.plug);
}

net::awaitable<Result<StopResult>> Containers::stop_locked(ContainerPtr container,
                                                           std::chrono::seconds timeout,
                                                           int signal) {
  container->state.manually_stopped = true;
  if (const auto committed = commit(*container); !committed) co_return committed.error();
  const std::uint64_t exits = container->exits;
  const auto sent = co_await send_signal(container, signal);
  if (!sent) spdlog::warn("stop {}: {}", container->short_id(), sent.error().message);
  const auto thawed = co_await thaw(container);  // else the signal would wait
  if (!thawed) spdlog::warn("{}", thawed.error().message);
  const bool exited = co_await wait_for_exit(container, exits, timeout);
  if (!exited) {
    const auto killed = co_await kill_locked(container);
    if (!killed) co_return base::annotate(killed.error(), "cannot stop container");
  }
  publish(*container, "stop");
  co_return StopResult::kStopped;
}

net::awaitable<Result<StopResult>> Containers::stop(ContainerPtr container,
                                                    std::optional<std::chrono::seconds> timeout,
                                                    int signal) {
  const auto lock = co_await container->transition.lock();
  if (container->removed) co_return no_such_container(container->id);
  if (container->state.status == Status::kRestarting) {
    container->state.manually_stopped = true;
    container->state.status = Status::kExited;
    if (const auto committed = commit(*container); !committed) co_return committed.error();
    container->changed.notify_all();
    co_return StopResult::kStopped;
  }
  if (!container->state.running()) co_return StopResult::kNotRunning;
  co_return co_await stop_locked(container, timeout.value_or(container->settings.stop_timeout()),
                                 signal != 0 ? signal : container->settings.stop_signal());
}

net::awaitable<Result<void>> Containers::restart(ContainerPtr container,
                                                 std::optional<std::chrono::seconds> timeout,
                                                 int signal) {
  const auto lock = co_await container->transition.lock();
  if (container->removed) co_return no_such_container(container->id);
  if (container->state.running()) {
    const auto limit = timeout.value_or(container->settings.stop_timeout());
    const int with = signal != 0 ? signal : container->settings.stop_signal();
    const auto stopped = co_await stop_locked(container, limit, with);
    if (!stopped) co_return stopped.error();
  }
  container->state.manually_stopped = false;
  const auto started = co_await start_locked(container);
  if (!started) co_return started.error();
  publish(*container, "restart");
  co_return Result<void>();
}

net::awaitable<Result<void>> Containers::kill(ContainerPtr container, int signal) {
  if (!container->state.running()) co_return not_running(*container);
  if (signal == SIGKILL || signal == container->settings.stop_signal()) {
    container->state.manually_stopped = true;
    if (const auto committed = commit(*container); !committed) co_return committed.error();
  }
  if (signal == SIGKILL) {
    auto killed = co_await kill_locked(container);
    if (!killed) co_return base::annotate(std::move(killed), "cannot kill container");
    co_return killed;
  }
  auto sent = co_await send_signal(container, signal);
  if (!sent) co_return std::move(sent).error();
  co_return co_await thaw(container);
}

net::awaitable<Result<void>> Containers::resize(ContainerPtr container, std::uint16_t rows,
                                                std::uint16_t columns) {
  const std::shared_ptr<Machine> machine = container->machine;
  if (!container->state.running() || !machine) co_return not_running(*container);
  if (container->settings.tty()) {  // without a terminal there is nothing to do, and nothing wrong
    auto resized = co_await machine->resize(kMainProcess, rows, columns);
    if (!resized) co_return std::move(resized).error();
  }
  publish(*container, "resize",
          {{"height", std::to_string(rows)}, {"width", std::to_string(columns)}});
  co_return Result<void>();
}

}  // namespace engine
