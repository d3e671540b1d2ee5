#include "api/engine/execs/execs.h"

#include <algorithm>

#include "api/engine/container/machine_spec.h"
#include "api/engine/container/state_errors.h"
#include "api/engine/process/start_refusal.h"
#include "api/engine/state/identifiers.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;

namespace {

/// The exit code of an exec that the guest gave no answer about.
constexpr int kExitCodeNotStarted = 128;
/// The exit code of an exec whose container ended first.
constexpr int kExitCodeUnknown = 137;

/// "exec_start: sh -c true". As in Docker a space follows the program even where nothing else does.
std::string action_of(std::string_view what, const std::vector<std::string>& command) {
  std::string text = std::string(what) + ": " + command.front() + " ";
  for (std::size_t i = 1; i < command.size(); ++i) text += (i > 1 ? " " : "") + command[i];
  return text;
}

}  // namespace

// Machines may hold processes that an earlier daemon numbered: begin where none of them is.
Execs::Execs(net::any_io_executor executor, SeccompFilters& seccomp, ContainerEvents& events)
    : executor_(executor),
      seccomp_(seccomp),
      events_(events),
      next_process_(static_cast<ProcessId>(now_ns() / 1'000'000'000) & 0x7fffffffu),
      tasks_(executor) {}

Result<ExecPtr> Execs::create(ContainerPtr container, ExecSettings settings) {
  if (!container->state.running()) return not_running(*container);
  if (container->state.status == Status::kPaused) return paused_for_exec(*container);
  if (settings.command.empty()) return Error{Code::kInvalidArgument, "No exec command specified"};
  const Process::Shape shape{.tty = settings.tty, .open_stdin = settings.attach_stdin};
  auto process = std::make_shared<Process>(executor_, next_process_++, shape);
  const auto exec = std::make_shared<Exec>(Exec{.id = random_id(),
                                                .container = std::move(container),
                                                .settings = std::move(settings),
                                                .process = std::move(process)});
  by_id_.emplace(exec->id, exec);
  order_.push_back(exec->id);
  forget_old();
  events_.publish(*exec->container, action_of("exec_create", exec->settings.command),
                  {{"execID", exec->id}});
  return exec;
}

/// Drops the oldest finished ones beyond kKept, and those whose container is gone.
void Execs::forget_old() {
  std::size_t excess = order_.size() > kKept ? order_.size() - kKept : 0;
  std::erase_if(order_, [&](const std::string& id) {
    const ExecPtr& exec = by_id_.at(id);
    if (exec->process->running()) return false;
    const bool forget = exec->container->removal.done || excess > 0;
    if (!forget) return false;
    if (excess > 0) --excess;
    by_id_.erase(id);
    return true;
  });
}

void Execs::forget(const ExecPtr& exec) {
  if (exec->process->running() || by_id_.erase(exec->id) == 0) return;
  std::erase(order_, exec->id);
}

Result<ExecPtr> Execs::find(const std::string& id) const {
  const auto found = by_id_.find(id);
  if (found == by_id_.end() || found->second->container->removal.done)
    return Error{Code::kNotFound, "No such exec instance: " + id.substr(0, 128)};
  return found->second;
}

std::vector<std::string> Execs::running_in(const Container& container) const {
  std::vector<std::string> ids;
  for (const auto& [id, exec] : by_id_)
    if (exec->process->running() && exec->container.get() == &container) ids.push_back(id);
  return ids;
}

Result<void> Execs::can_start(const Exec& exec) const {
  if (exec.started)
    return Error{Code::kConflict, "Error: Exec command " + exec.id + " has already run"};
  return still_runs(exec);
}

/// The container's filter, also where the exec has more capabilities: runc does the same.
net::awaitable<Result<void>> Execs::add_seccomp_filter(ExecPtr exec,
                                                       protocol::StartProcess& process) {
  auto filter = co_await seccomp_filter_for(seccomp_, exec->container);
  if (!filter) co_return std::move(filter).error();
  RETURN_IF_ERROR_ASYNC(still_runs(*exec));
  apply_seccomp_filter(*filter, process);
  co_return Result<void>();
}

Result<void> Execs::still_runs(const Exec& exec) {
  if (!exec.container->state.running() || !exec.container->run.machine)
    return not_running(*exec.container);
  if (exec.container->state.status == Status::kPaused) return paused_for_exec(*exec.container);
  return {};
}

net::awaitable<Result<void>> Execs::start(ExecPtr exec, std::uint16_t rows, std::uint16_t columns) {
  RETURN_IF_ERROR_ASYNC(can_start(*exec));
  exec->started = true;
  std::optional<int> exit_code;
  auto started = co_await start_process(exec, rows, columns, exit_code);
  if (started) {
    tasks_.spawn("exec " + exec->id.substr(0, 12), follow(this, exec));
  } else {
    co_await exec->process->end(exit_code);
  }
  co_return started;
}

/// `exit_code`: set if the start was tried and failed.
net::awaitable<Result<void>> Execs::start_process(ExecPtr exec, std::uint16_t rows,
                                                  std::uint16_t columns,
                                                  std::optional<int>& exit_code) {
  protocol::StartProcess process = exec_process_for(*exec->container, exec->settings);
  RETURN_IF_ERROR_ASYNC(co_await add_seccomp_filter(exec, process));
  process.rows = rows;
  process.columns = columns;
  const std::string argv0 = process.argv.at(0);
  std::shared_ptr<Machine> machine = exec->container->run.machine;
  events_.publish(*exec->container, action_of("exec_start", exec->settings.command),
                  {{"execID", exec->id}});
  auto started = co_await exec->process->start(std::move(machine), std::move(process));
  if (!started) {
    exit_code = kExitCodeNotStarted;
    co_return std::move(started).error();
  }
  if (!started->refusal) co_return Result<void>();
  const StartRefusal refusal = explain_refusal(*started->refusal, argv0);
  exit_code = refusal.exit_code;
  co_return Error{Code::kInvalidArgument,
                  "OCI runtime exec failed: exec failed: " + refusal.message};
}

net::awaitable<void> Execs::follow(Execs* self, ExecPtr exec) {
  const auto exit = co_await exec->process->wait_exit();
  const int exit_code = exit ? exit_code_of(*exit) : kExitCodeUnknown;
  if (exit) exec->process->forget();
  co_await exec->process->end(exit_code);
  self->events_.publish(*exec->container, "exec_die",
                        {{"execID", exec->id}, {"exitCode", std::to_string(exit_code)}});
}

net::awaitable<Result<void>> Execs::resize(ExecPtr exec, std::uint16_t rows,
                                           std::uint16_t columns) {
  if (!exec->process->running())
    co_return Error{Code::kConflict, "exec " + exec->id + " is not running"};
  co_return co_await exec->process->resize(rows, columns);
}

}  // namespace engine
