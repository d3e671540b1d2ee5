#include "api/engine/process/process.h"

#include <utility>

namespace engine {

using base::Code;
using base::Error;
using base::Result;

int exit_code_of(const protocol::ExitStatus& status) {
  return status.signaled ? 128 + status.code : status.code & 0xff;
}

Process::Process(const net::any_io_executor& executor, ProcessId id, Shape shape)
    : id_(id),
      shape_(shape),
      output_(std::make_shared<OutputHub>(executor)),
      changed_(executor),
      stdin_turn_(executor) {}

std::shared_ptr<OutputSink> Process::sink() const {
  if (sink_) return sink_;
  return output_;
}

net::awaitable<Result<void>> Process::write_stdin(std::vector<std::byte> bytes) {
  const auto turn = co_await stdin_turn_.lock();
  const std::shared_ptr<Machine> machine = machine_;
  if (!machine) co_return Error{Code::kUnavailable, "the process does not run"};
  co_return co_await machine->write_stdin(id_, std::move(bytes));
}

void Process::close_stdin() {
  if (machine_) machine_->close_stdin(id_);
}

net::awaitable<Result<ProcessStart>> Process::start(std::shared_ptr<Machine> machine,
                                                    protocol::StartProcess request) {
  request.process = id_;
  auto started = co_await machine->start_process(std::move(request), sink());
  if (started && !started->refusal) begin(std::move(machine), started->pid);
  co_return started;
}

void Process::begin(std::shared_ptr<Machine> machine, std::int32_t pid) {
  machine_ = std::move(machine);
  pid_ = pid;
  changed_.notify_all();
}

AdoptSpec::Process Process::adopt_spec(const std::optional<LogPosition::Streams>& logged) const {
  AdoptSpec::Process spec{.sink = sink(),
                          .open_stdin = shape_.open_stdin,
                          .stdout_bytes = std::nullopt,
                          .stderr_bytes = std::nullopt,
                          .tty = shape_.tty};
  if (logged) {
    spec.stdout_bytes = logged->out;
    spec.stderr_bytes = logged->err;
  }
  return spec;
}

net::awaitable<Result<protocol::ExitStatus>> Process::wait_exit() const {
  const std::shared_ptr<Machine> machine = machine_;
  co_return co_await machine->wait_exit(id_);
}

net::awaitable<void> Process::end(std::optional<int> exit_code) {
  co_await output_->finish();
  exit_code_ = exit_code;
  over_ = true;
  pid_ = 0;
  machine_.reset();
  changed_.notify_all();
}

net::awaitable<bool> Process::wait_begun() {
  while (!running() && !over_) co_await changed_.wait();
  co_return running();
}

net::awaitable<void> Process::wait_over() {
  while (!over_) co_await changed_.wait();
}

net::awaitable<Result<void>> Process::signal(int number) const {
  const std::shared_ptr<Machine> machine = machine_;
  if (!machine) co_return Result<void>();
  auto sent = co_await machine->signal(id_, number);
  const bool gone =
      !sent && (sent.error().code == Code::kNotFound || sent.error().code == Code::kUnavailable);
  if (gone) co_return Result<void>();
  co_return sent;
}

net::awaitable<Result<void>> Process::resize(std::uint16_t rows, std::uint16_t columns) const {
  const std::shared_ptr<Machine> machine = machine_;
  if (!machine || !shape_.tty) co_return Result<void>();
  co_return co_await machine->resize(id_, rows, columns);
}

}  // namespace engine
