#include "api/engine/process/execs.h"

#include <algorithm>

#include "api/engine/container/machine_spec.h"
#include "api/engine/container/state_errors.h"
#include "api/engine/state/identifiers.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;

namespace {

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
  const auto exec = std::make_shared<Exec>(executor_, random_id());
  exec->container = std::move(container);
  exec->settings = std::move(settings);
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
    if (exec->running) return false;
    const bool forget = exec->container->removed || excess > 0;
    if (!forget) return false;
    if (excess > 0) --excess;
    by_id_.erase(id);
    return true;
  });
}

void Execs::forget(const ExecPtr& exec) {
  if (exec->running || by_id_.erase(exec->id) == 0) return;
  std::erase(order_, exec->id);
}

Result<ExecPtr> Execs::find(const std::string& id) const {
  const auto found = by_id_.find(id);
  if (found == by_id_.end() || found->second->container->removed)
    return Error{Code::kNotFound, "No such exec instance: " + id.substr(0, 128)};
  return found->second;
}

std::vector<std::string> Execs::running_in(const Container& container) const {
  std::vector<std::string> ids;
  for (const auto& [id, exec] : by_id_)
    if (exec->running && exec->container.get() == &container) ids.push_back(id);
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
  if (!exec.container->state.running() || !exec.container->machine)
    return not_running(*exec.container);
  if (exec.container->state.status == Status::kPaused) return paused_for_exec(*exec.container);
  return {};
}

net::awaitable<Result<void>> Execs::start(ExecPtr exec, std::uint16_t rows, std::uint16_t columns) {
  RETURN_IF_ERROR_ASYNC(can_start(*exec));
  exec->started = true;
  auto process = exec_process_for(*exec->container, exec->settings);
  if (!process) co_return std::move(process).error();
  if (auto filtered = co_await add_seccomp_filter(exec, *process); !filtered) {
    exec->output->end_attachments();
    co_return filtered;
  }
  exec->process = process->process = next_process_++;
  process->rows = rows;
  process->columns = columns;
  const std::string argv0 = process->argv.at(0);
  exec->machine = exec->container->machine;
  events_.publish(*exec->container, action_of("exec_start", exec->settings.command),
                  {{"execID", exec->id}});
  std::shared_ptr<OutputSink> sink = exec->sink;
  if (!sink) sink = exec->output;
  auto started = co_await exec->machine->start_process(*std::move(process), std::move(sink));
  Result<void> result;
  if (!started) {
    exec->exit_code = 128;
    result = std::move(started).error();
  } else if (started->refusal) {
    const StartRefusal refusal = explain_refusal(*started->refusal, argv0);
    exec->exit_code = refusal.exit_code;
    result =
        Error{Code::kInvalidArgument, "OCI runtime exec failed: exec failed: " + refusal.message};
  }
  if (!result) {
    exec->machine.reset();
    exec->output->end_attachments();
    co_return result;
  }
  exec->running = true;
  exec->pid = started->pid;
  tasks_.spawn("exec " + exec->id.substr(0, 12), follow(this, exec));
  co_return result;
}

net::awaitable<void> Execs::follow(Execs* self, ExecPtr exec) {
  const auto exit = co_await exec->machine->wait_exit(exec->process);
  exec->exit_code = 137;  // its container ended first
  if (exit) exec->exit_code = exit->signaled ? 128 + exit->code : exit->code & 0xff;
  if (exit) exec->machine->forget_process(exec->process);
  exec->running = false;
  exec->pid = 0;
  exec->machine.reset();
  exec->output->end_attachments();
  self->events_.publish(*exec->container, "exec_die",
                        {{"execID", exec->id}, {"exitCode", std::to_string(*exec->exit_code)}});
  exec->ended.notify_all();
}

net::awaitable<Result<void>> Execs::resize(ExecPtr exec, std::uint16_t rows,
                                           std::uint16_t columns) {
  const std::shared_ptr<Machine> machine = exec->machine;
  if (!exec->running || !machine)
    co_return Error{Code::kConflict, "exec " + exec->id + " is not running"};
  if (!exec->settings.tty) co_return Result<void>();
  co_return co_await machine->resize(exec->process, rows, columns);
}

}  // namespace engine
