#include "api/engine/containers/container_files.h"

#include <spdlog/spdlog.h>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <csignal>
#include <span>

#include "api/engine/container/state_errors.h"
#include "api/engine/security/capabilities.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;
using namespace net::experimental::awaitable_operators;  // NOLINT: operator|| only

namespace {

constexpr std::chrono::seconds kWriteBackTimeout{60};

/// The tool's output into the pipe. What nobody reads any more is dropped: tool_exit() sees that.
class PipeSink final : public OutputSink {
 public:
  explicit PipeSink(std::shared_ptr<async::BytePipe> pipe) : pipe_(std::move(pipe)) {}

  net::awaitable<void> write(protocol::Stream stream, std::vector<std::byte> bytes) override {
    if (stream != protocol::Stream::kStdout) co_return;
    [[maybe_unused]] const bool wanted = co_await pipe_->put(std::move(bytes));
  }

  void hurry() override { pipe_->hurry(); }

 private:
  std::shared_ptr<async::BytePipe> pipe_;
};

protocol::StartProcess files_process(const FilesTask& task, ProcessId process) {
  protocol::StartProcess start;
  start.container = kMainContainer;
  start.process = process;
  start.argv = task.command;
  start.user = "0:0";
  start.capabilities = kAllCapabilities;
  start.open_stdin = task.input != nullptr;
  start.files_tool = true;
  return start;
}

net::awaitable<void> feed(std::shared_ptr<Machine> machine, ProcessId process,
                          std::shared_ptr<async::BytePipe> input) {
  for (;;) {
    auto piece = co_await input->take();
    if (!piece || !*piece) break;
    const auto written = co_await machine->write_stdin(process, **std::move(piece));
    if (!written) break;  // the tool has ended: it says why
  }
  input->close();
  machine->close_stdin(process);
}

/// Whether the tool goes where a path leads, so that it may come into a volume.
bool looks_at_paths(const FilesTask& task) {
  const std::string& what = task.command.at(0);
  return what == "stat" || what == "read" || what == "write";
}

Error refusal_error(const protocol::Failure& refusal) {
  return Error{Code::kInternal, "read the container's files: " + refusal.message.substr(0, 256)};
}

}  // namespace

void ContainerFiles::start(ContainerPtr container, FilesTask task) {
  parts_.background.spawn("files of " + container->short_id(),
                          run_task(container, std::move(task)));
}

std::shared_ptr<async::BytePipe> ContainerFiles::start_reading(ContainerPtr container,
                                                               std::vector<std::string> command) {
  auto output = std::make_shared<async::BytePipe>(parts_.executor);
  FilesTask task{
      .command = std::move(command), .changes_files = false, .output = output, .input = nullptr};
  start(std::move(container), std::move(task));
  return output;
}

net::awaitable<void> ContainerFiles::run_task(ContainerPtr container, FilesTask task) {
  const auto output = task.output;
  const auto input = task.input;
  auto done = co_await run_tool(container, std::move(task));
  if (input) input->close();
  output->finish(std::move(done));
}

ProcessId ContainerFiles::next_process() {
  return kFirstFilesProcess + processes_++ % kFirstFilesProcess;
}

net::awaitable<Result<void>> ContainerFiles::run_tool(ContainerPtr container, FilesTask task) {
  if (container->state.running() && container->machine) {
    const auto sink = std::make_shared<PipeSink>(task.output);
    const ProcessId process = next_process();
    const std::shared_ptr<Machine> machine = container->machine;
    auto started = co_await machine->start_process(files_process(task, process), sink);
    if (!started) co_return std::move(started).error();
    if (started->refusal) co_return refusal_error(*started->refusal);
    const ToolRun run{.machine = machine, .process = process};
    co_return co_await finish_tool(run, std::move(task));
  }
  const auto lock = co_await container->transition.lock();
  if (container->removed) co_return no_such_container(container->id);
  const bool free = co_await wait_for_teardown(container, parts_.patience.teardown());
  if (!free) co_return machine_does_not_end();
  if (container->removals > 0) co_return being_removed(*container);
  // Nobody waits for it any more.
  if (task.output->closed()) co_return Result<void>();
  if (parts_.background.ending()) co_return daemon_is_ending();
  if (!looks_at_paths(task)) co_return co_await run_machine(container, std::move(task), false);
  const auto claim = co_await parts_.claims.claim(container);
  if (!claim) co_return claim.error();
  co_return co_await run_machine(container, std::move(task), true);
}

/// In a machine for this task only; with the container's volumes if they were claimed for it.
net::awaitable<Result<void>> ContainerFiles::run_machine(ContainerPtr container, FilesTask task,
                                                         bool sees_volumes) {
  const auto sink = std::make_shared<PipeSink>(task.output);
  const ProcessId process = next_process();
  auto tool = files_process(task, process);
  auto started =
      co_await parts_.launcher.launch_files_tool(container, std::move(tool), sink, sees_volumes);
  if (!started) co_return std::move(started).error();
  if (started->first.refusal) co_return refusal_error(*started->first.refusal);
  container->files_machine = started->machine;
  const ToolRun run{.machine = started->machine, .process = process, .own_machine = true};
  auto done = co_await finish_tool(run, std::move(task));
  container->files_machine.reset();
  co_return done;
}

/// The tool's exit. One whose output nobody reads any more is killed, whether it says anything or
/// not; if that does not end it, its own machine is. In the machine of a running container it is
/// left to that then.
net::awaitable<Result<protocol::ExitStatus>> ContainerFiles::tool_exit(
    ToolRun run, std::shared_ptr<async::BytePipe> output) {
  auto exit = co_await (run.machine->wait_exit(run.process) || output->wait_closed());
  if (exit.index() == 0) co_return std::get<0>(std::move(exit));
  [[maybe_unused]] const auto sent = co_await run.machine->signal(run.process, SIGKILL);
  net::steady_timer timer(parts_.executor, parts_.patience.kill);
  auto killed = co_await (run.machine->wait_exit(run.process) || timer.async_wait(async::kTuple));
  if (killed.index() == 0) co_return std::get<0>(std::move(killed));
  if (run.own_machine) run.machine->kill();
  co_return co_await run.machine->wait_exit(run.process);
}

net::awaitable<Result<void>> ContainerFiles::finish_tool(ToolRun run, FilesTask task) {
  if (task.input)
    parts_.background.spawn("feed the files tool", feed(run.machine, run.process, task.input));
  const auto exit = co_await tool_exit(run, task.output);
  if (run.own_machine) {
    if (task.changes_files) {
      co_await run.machine->shutdown(kWriteBackTimeout);
    } else {
      run.machine->kill();
    }
    co_await run.machine->wait_stopped();
  }
  run.machine->forget_process(run.process);  // also a machine's end: its sink holds the machine
  if (!exit) co_return exit.error();
  co_return Result<void>();
}

}  // namespace engine
