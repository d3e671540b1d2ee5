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

protocol::StartProcess files_process(const FilesTask& task, ProcessId process,
                                     ContainerNumber container) {
  protocol::StartProcess start;
  start.container = container;
  start.process = process;
  start.argv = task.command;
  start.user = "0:0";
  start.capabilities = kAllCapabilities;
  start.open_stdin = task.input != nullptr;
  start.files_tool = true;
  return start;
}

net::awaitable<void> feed(ProcessPtr tool, std::shared_ptr<async::BytePipe> input) {
  for (;;) {
    auto piece = co_await input->take();
    if (!piece || !*piece) break;
    const auto written = co_await tool->write_stdin(**std::move(piece));
    if (!written) break;  // the tool has ended: it says why
  }
  input->close();
  tool->close_stdin();
}

/// Whether the tool goes where a path leads, so that it may come into a volume.
bool looks_at_paths(const FilesTask& task) {
  const std::string& what = task.command.at(0);
  return what == "stat" || what == "read" || what == "write";
}

Error refusal_error(const protocol::Failure& refusal) {
  return Error{Code::kInternal, "start the guest's files tool: " + refusal.message.substr(0, 256)};
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

ProcessPtr ContainerFiles::make_tool(const FilesTask& task) {
  const ProcessId id = kFirstFilesProcess + processes_++ % kFirstFilesProcess;
  const Process::Shape shape{.tty = false, .open_stdin = task.input != nullptr};
  auto tool = std::make_shared<Process>(parts_.executor, id, shape);
  tool->send_output_to(std::make_shared<PipeSink>(task.output));
  return tool;
}

net::awaitable<Result<void>> ContainerFiles::run_tool(ContainerPtr container, FilesTask task) {
  if (container->state.running() && container->run.machine) {
    const ProcessPtr tool = make_tool(task);
    std::shared_ptr<Machine> machine = container->run.machine;
    auto process = files_process(task, tool->id(), container->state.machine.number);
    auto started = co_await tool->start(std::move(machine), std::move(process));
    if (!started) co_return std::move(started).error();
    if (started->refusal) co_return refusal_error(*started->refusal);
    std::shared_ptr<Machine> no_machine;
    co_return co_await finish_tool(tool, std::move(no_machine), std::move(task));
  }
  const auto lock = co_await container->run.transition.lock();
  if (container->removal.done) co_return no_such_container(container->id);
  const bool free = co_await wait_for_teardown(container, parts_.patience.teardown());
  if (!free) co_return machine_does_not_end();
  if (container->removal.under_way > 0) co_return being_removed(*container);
  // Nobody waits for it any more.
  if (task.output->closed()) co_return Result<void>();
  if (parts_.background.ending()) co_return daemon_is_ending();
  if (!looks_at_paths(task)) co_return co_await run_machine(container, std::move(task), false);
  const auto claim = co_await parts_.claims.claim(container);
  if (!claim) co_return claim.error();
  co_return co_await run_machine(container, std::move(task), true);
}

/// Runs a task in a machine of its own. `sees_volumes`: with the container's volumes, which were
/// claimed for it.
net::awaitable<Result<void>> ContainerFiles::run_machine(ContainerPtr container, FilesTask task,
                                                         bool sees_volumes) {
  const ProcessPtr tool = make_tool(task);
  auto process = files_process(task, tool->id(), kMainContainer);
  auto started = co_await parts_.launcher.launch_files_tool(container, std::move(process),
                                                            tool->sink(), sees_volumes);
  if (!started) co_return std::move(started).error();
  if (started->first.refusal) co_return refusal_error(*started->first.refusal);
  tool->begin(started->machine, started->first.pid);
  container->files.machine = started->machine;
  auto done = co_await finish_tool(tool, started->machine, std::move(task));
  container->files.machine.reset();
  co_return done;
}

/// Waits for the tool's exit. A tool whose output nobody reads any more is killed, whether it says
/// anything or not. If that does not end it, the machine that was started for it is ended; in the
/// machine of a running container, the tool is left to that machine's end.
net::awaitable<Result<protocol::ExitStatus>> ContainerFiles::tool_exit(
    ProcessPtr tool, std::shared_ptr<Machine> own_machine,
    std::shared_ptr<async::BytePipe> output) {
  auto exit = co_await (tool->wait_exit() || output->wait_closed());
  if (exit.index() == 0) co_return std::get<0>(std::move(exit));
  [[maybe_unused]] const auto sent = co_await tool->signal(SIGKILL);
  net::steady_timer timer(parts_.executor, parts_.patience.kill);
  auto killed = co_await (tool->wait_exit() || timer.async_wait(async::kTuple));
  if (killed.index() == 0) co_return std::get<0>(std::move(killed));
  if (own_machine) own_machine->kill();
  co_return co_await tool->wait_exit();
}

/// `own_machine`: the machine that was started for this task; null if there is none.
net::awaitable<Result<void>> ContainerFiles::finish_tool(ProcessPtr tool,
                                                         std::shared_ptr<Machine> own_machine,
                                                         FilesTask task) {
  if (task.input) parts_.background.spawn("feed the files tool", feed(tool, task.input));
  const auto exit = co_await tool_exit(tool, own_machine, task.output);
  if (own_machine) {
    if (task.changes_files) {
      co_await own_machine->shutdown(kWriteBackTimeout);
    } else {
      own_machine->kill();
    }
    co_await own_machine->wait_stopped();
  }
  tool->forget();  // also after a machine's end: its sink holds the machine
  std::optional<int> exit_code;
  if (exit) exit_code = exit_code_of(*exit);
  co_await tool->end(exit_code);
  if (!exit) co_return exit.error();
  co_return Result<void>();
}

}  // namespace engine
