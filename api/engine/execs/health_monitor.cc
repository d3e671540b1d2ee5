#include "api/engine/execs/health_monitor.h"

#include <spdlog/spdlog.h>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/steady_timer.hpp>
#include <csignal>
#include <functional>

namespace engine {

using std::chrono::nanoseconds;
using Clock = std::chrono::steady_clock;
using namespace net::experimental::awaitable_operators;  // NOLINT: operator|| only

namespace {

constexpr int kNoExitCode = -1;

/// Gathers a probe's output, and never makes the probe wait: what is too much is dropped.
struct ProbeOutput final : OutputSink {
  net::awaitable<void> write(protocol::Stream, std::vector<std::byte> bytes) override {
    gathered.append(bytes);
    co_return;
  }
  HealthOutput gathered;
};

net::awaitable<void> kill(ExecPtr exec) {
  const auto sent = co_await exec->process->signal(SIGKILL);
  if (!sent)
    spdlog::warn("kill health check of {}: {}", exec->container->short_id(), sent.error().message);
}

}  // namespace

/// One run of a container, from its start to its exit.
struct HealthMonitor::Run {
  ContainerPtr container;
  HealthCheck check;
  std::uint64_t exits = 0;      // of the container when this run began
  std::shared_ptr<Probe> late;  // given up before the guest had started it

  bool over() const {
    return container->run.exits != exits || container->removal.done || !container->state.running();
  }
  bool paused() const { return !over() && container->state.status == Status::kPaused; }
  bool probed() const { return !over() && !paused(); }
};

struct HealthMonitor::Probe {
  Probe(const net::any_io_executor& executor, ExecPtr the_exec)
      : exec(std::move(the_exec)), output(std::make_shared<ProbeOutput>()), changed(executor) {
    exec->process->send_output_to(output);
  }

  const ExecPtr exec;
  const std::shared_ptr<ProbeOutput> output;
  bool started = false;
  bool done = false;
  bool unwanted = false;               // to be killed as soon as it runs
  std::optional<std::string> failure;  // why it could not be started
  async::Notifier changed;             // after every change of these
};

HealthMonitor::HealthMonitor(net::any_io_executor executor, ContainerHealth& health, Execs& execs,
                             std::chrono::milliseconds start_timeout)
    : executor_(executor),
      health_(health),
      execs_(execs),
      start_timeout_(start_timeout),
      runs_(executor),
      probes_(executor) {
  health_.on_run([this](ContainerPtr container, HealthCheck check) {
    const std::string what = "health of " + container->short_id();
    const std::uint64_t exits = container->run.exits;
    runs_.spawn(what, watch(Run{.container = std::move(container),
                                .check = std::move(check),
                                .exits = exits,
                                .late = nullptr}));
  });
}

HealthMonitor::~HealthMonitor() { health_.on_run({}); }

net::awaitable<void> HealthMonitor::drained() {
  co_await runs_.drained();
  co_await probes_.drained();
}

net::awaitable<void> HealthMonitor::sleep(Clock::time_point due, async::Notifier& changed) {
  net::steady_timer timer(executor_, due);
  co_await (timer.async_wait(async::kTuple) || changed.wait());
}

net::awaitable<void> HealthMonitor::watch(Run run) {
  Container& container = *run.container;
  while (!run.over()) {
    if (run.paused()) {
      health_.suspend(run.container);
      co_await container.changed.wait();
      continue;
    }
    const nanoseconds running_for(now_ns() - container.state.started_at);
    const auto due = Clock::now() + next_probe_in(*container.state.health, run.check, running_for);
    while (run.probed() && Clock::now() < due) co_await sleep(due, container.changed);
    if (run.probed()) co_await probe(run);
  }
}

net::awaitable<void> HealthMonitor::probe(Run& run) {
  const TimeNs start = now_ns();
  const std::string cannot_start =
      "timed out starting health check for container " + run.container->id;
  if (run.late && !run.late->done) {  // a guest that is stuck gets no further processes to start
    record(run, start, kNoExitCode, cannot_start);
    co_return;
  }
  ExecSettings settings;
  settings.command = run.check.command;
  settings.attach_stdout = settings.attach_stderr = true;
  auto exec = execs_.create(run.container, std::move(settings));
  if (!exec) {
    record(run, start, kNoExitCode, exec.error().message);
    co_return;
  }
  const auto probe = std::make_shared<Probe>(executor_, *exec);
  probes_.spawn("health check of " + run.container->short_id(), begin_and_follow(probe));

  const auto started_by = Clock::now() + start_timeout_;
  while (run.probed() && !probe->started && !probe->done && Clock::now() < started_by)
    co_await wait(run, *probe, started_by);
  if (run.probed() && !probe->started && !probe->done) {
    probe->unwanted = true;
    run.late = probe;
    record(run, start, kNoExitCode, cannot_start);
    co_return;
  }
  const auto ended_by = Clock::now() + run.check.timeout;
  while (run.probed() && !probe->done && Clock::now() < ended_by)
    co_await wait(run, *probe, ended_by);
  const bool in_time = probe->done;
  if (!in_time) co_await end(run, probe);
  if (!run.probed()) co_return;  // what it said is of no interest any more
  const std::string output = probe->output->gathered.text();
  if (!in_time) {
    record(run, start, kNoExitCode, exceeded_timeout(run.check.timeout, output));
  } else if (probe->failure) {
    record(run, start, kNoExitCode, *probe->failure);
  } else {
    record(run, start, probe->exec->process->exit_code().value_or(kNoExitCode), output);
  }
}

net::awaitable<void> HealthMonitor::begin_and_follow(std::shared_ptr<Probe> probe) {
  const ExecPtr exec = probe->exec;
  const auto started = co_await execs_.start(exec, 0, 0);
  if (started) {
    probe->started = true;
    probe->changed.notify_all();
    if (probe->unwanted) co_await kill(exec);
    co_await exec->process->wait_over();
  } else {
    probe->failure = started.error().message;
  }
  execs_.forget(exec);  // or probes would push the clients' execs out
  probe->done = true;
  probe->changed.notify_all();
}

/// Completes when the probe's process is gone, so that dying probes do not pile up.
net::awaitable<void> HealthMonitor::end(Run& run, std::shared_ptr<Probe> probe) {
  if (run.paused()) health_.suspend(run.container);
  probe->unwanted = true;
  co_await kill(probe->exec);
  while (!probe->done) co_await probe->changed.wait();
}

net::awaitable<void> HealthMonitor::wait(Run& run, Probe& probe, Clock::time_point due) {
  net::steady_timer timer(executor_, due);
  co_await (timer.async_wait(async::kTuple) || run.container->changed.wait() ||
            probe.changed.wait());
}

void HealthMonitor::record(Run& run, TimeNs start, int exit_code, std::string output) {
  HealthResult result{
      .start = start, .end = now_ns(), .exit_code = exit_code, .output = std::move(output)};
  health_.record(run.container, run.check, std::move(result));
}

}  // namespace engine
