#include "guest-init/process/process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <array>

#include "guest-init/system/text_files.h"

namespace guest_init {
namespace {

using protocol::FailureKind;

/// How long others may still write to the streams of a process that has exited, as with Docker. A
/// container's first process takes the others of the container with it, but processes of another
/// one in the machine may have been handed its streams.
constexpr int kCutSeconds = 2;

protocol::Failure failure(const protocol::StartProcess& spec, FailureKind kind, std::string stage,
                          base::Error error) {
  protocol::Failure result;
  result.request = spec.request;
  result.kind = kind;
  result.stage = std::move(stage);
  result.message = std::move(error.message);
  return result;
}

struct PipeEnds {
  base::UniqueFd read;
  base::UniqueFd write;
};

base::Result<PipeEnds> make_pipe() {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return base::errno_error("pipe2");
  return PipeEnds{base::UniqueFd(ends[0]), base::UniqueFd(ends[1])};
}

base::Result<void> make_non_blocking(const base::UniqueFd& fd) {
  const int flags = fcntl(fd.get(), F_GETFL);
  if (flags < 0 || fcntl(fd.get(), F_SETFL, flags | O_NONBLOCK) != 0)
    return base::errno_error("fcntl");
  return {};
}

base::Result<base::UniqueFd> duplicate(const base::UniqueFd& fd) {
  base::UniqueFd copy(fcntl(fd.get(), F_DUPFD_CLOEXEC, 3));
  if (!copy) return base::errno_error("duplicate a descriptor");
  return copy;
}

base::Result<void> set_oom_score_adjustment(pid_t pid, int value) {
  return write_file_at(AT_FDCWD, "/proc/" + std::to_string(pid) + "/oom_score_adj",
                       std::to_string(value));
}

}  // namespace

Process::Process(PollLoop& loop, const protocol::StartProcess& spec,
                 std::function<void(Process&)> on_end)
    : loop_(loop), id_(spec.process), container_(spec.container), on_end_(std::move(on_end)) {}

base::Result<Process::Pipes> Process::make_pipes(const protocol::StartProcess& spec) {
  Pipes pipes;
  for (int stream = spec.open_stdin ? 0 : 1; stream < 3; ++stream) {
    auto pipe = make_pipe();
    if (!pipe) return std::move(pipe).error();
    base::UniqueFd& ours = stream == 0 ? pipe->write : pipe->read;
    base::UniqueFd& theirs = stream == 0 ? pipe->read : pipe->write;
    RETURN_IF_ERROR(make_non_blocking(ours));
    (stream == 0 ? pipes.input : stream == 1 ? pipes.output : pipes.error) = std::move(ours);
    pipes.theirs_owned[stream] = std::move(theirs);
  }
  pipes.theirs = {pipes.theirs_owned[0].get(), pipes.theirs_owned[1].get(),
                  pipes.theirs_owned[2].get()};
  return pipes;
}

base::Result<Process::Pipes> Process::use_terminal(const protocol::StartProcess& spec,
                                                   const Terminal& terminal) {
  Pipes pipes;
  pipes.theirs = {terminal.slave.get(), terminal.slave.get(), terminal.slave.get()};
  auto output = duplicate(terminal.master);
  if (!output) return std::move(output).error();
  pipes.output = *std::move(output);
  if (!spec.open_stdin) return pipes;
  auto input = duplicate(terminal.master);
  if (!input) return std::move(input).error();
  pipes.input = *std::move(input);
  return pipes;
}

base::Result<void> Process::open_streams(Pipes pipes, const protocol::StartProcess& spec) {
  const auto on_stream_end = [this] { check_end(); };
  if (pipes.input) {
    streams_.input.emplace(loop_, std::move(pipes.input), spec.tty);
    RETURN_IF_ERROR(streams_.input->start());
  }
  streams_.output.emplace(loop_, std::move(pipes.output), on_stream_end);
  RETURN_IF_ERROR(streams_.output->start());
  if (spec.tty) return {};
  streams_.error.emplace(loop_, std::move(pipes.error), on_stream_end);
  return streams_.error->start();
}

std::variant<std::unique_ptr<Process>, protocol::Failure> Process::start(
    const Surroundings& surroundings, Container& container, const protocol::StartProcess& spec,
    std::function<void(Process&)> on_end) {
  std::unique_ptr<Process> process(new Process(*surroundings.loop, spec, std::move(on_end)));
  process->first_ = !container.first_started();
  std::unique_ptr<SharedTask> joined;
  if (!process->first_) {
    auto task = spec.files_tool ? container.enter_filesystem()
                                : container.join(surroundings.own_pid_namespace);
    if (!task) return failure(spec, FailureKind::kInvalidRequest, "join", std::move(task).error());
    joined = *std::move(task);
  }
  SharedTask& task = joined ? *joined : container.first_task();
  process->pid_ = task.pid();

  base::Result<Terminal> terminal{Terminal{}};
  if (spec.tty) {
    if (auto ran = task.run([&] { terminal = open_terminal(spec.rows, spec.columns); }); !ran)
      return failure(spec, FailureKind::kInternal, "terminal", std::move(ran).error());
    if (!terminal)
      return failure(spec, FailureKind::kInternal, "terminal", std::move(terminal).error());
    process->terminal_ = *std::move(terminal);
  }
  auto pipes = spec.tty ? use_terminal(spec, process->terminal_) : make_pipes(spec);
  if (!pipes) return failure(spec, FailureKind::kInternal, "streams", std::move(pipes).error());
  if (spec.oom_score_adj != 0)
    if (auto set = set_oom_score_adjustment(process->pid_, spec.oom_score_adj); !set)
      return failure(spec, FailureKind::kLimit, "oom_score_adj", std::move(set).error());

  std::vector<base::UniqueFd> directories;
  if (spec.files_tool) {
    auto found = container.directories();
    if (!found) return failure(spec, FailureKind::kInternal, "files", std::move(found).error());
    directories = *std::move(found);
  }
  Launch launch(spec, process->first_, surroundings.init_program, std::move(directories));
  if (process->first_) container.set_first_started();
  task.run_last([&] { launch.become_process(pipes->theirs); });
  if (launch.failure()) return *launch.failure();
  if (auto opened = process->open_streams(*std::move(pipes), spec); !opened) {
    // The program runs already, and nobody would ever hear of it.
    kill(process->pid_, SIGKILL);
    return failure(spec, FailureKind::kInternal, "streams", std::move(opened).error());
  }
  return process;
}

bool Process::ended() const {
  return exit_ && (!streams_.output || streams_.output->ended()) &&
         (!streams_.error || streams_.error->ended());
}

base::Result<void> Process::signal(int number) const {
  if (kill(pid_, number) != 0) return base::errno_error("kill");
  return {};
}

base::Result<void> Process::resize_terminal(std::uint16_t rows, std::uint16_t columns) const {
  if (!terminal_.master)
    return base::Error{base::Code::kInvalidArgument, "the process has no terminal"};
  return set_terminal_size(terminal_.master.get(), rows, columns);
}

void Process::attach(const protocol::StreamOpen& open, base::UniqueFd connection) {
  switch (open.stream) {
    case protocol::Stream::kStdin:
      if (streams_.input) streams_.input->attach(std::move(connection));
      return;
    case protocol::Stream::kStdout:
      if (streams_.output) streams_.output->attach(std::move(connection), open.offset);
      return;
    case protocol::Stream::kStderr:
      if (streams_.error) streams_.error->attach(std::move(connection), open.offset);
      return;
  }
}

void Process::set_exit(const protocol::ExitStatus& status) {
  exit_ = status;
  terminal_ = {};
  if (streams_.input) streams_.input->process_exited();
  if (streams_.output) streams_.output->process_exited(false);
  if (streams_.error) streams_.error->process_exited(false);
  check_end();
  if (!ended() && !start_cut_timer()) {
    if (streams_.output) streams_.output->process_exited(true);
    if (streams_.error) streams_.error->process_exited(true);
  }
}

base::Result<void> Process::start_cut_timer() {
  cut_timer_.fd.reset(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!cut_timer_.fd) return base::errno_error("timerfd_create");
  itimerspec when{};
  when.it_value.tv_sec = kCutSeconds;
  timerfd_settime(cut_timer_.fd.get(), 0, &when, nullptr);
  auto watch = loop_.watch(cut_timer_.fd.get(), kReadable, [this](std::uint32_t) {
    cut_timer_.watch.reset();
    if (streams_.output) streams_.output->process_exited(true);
    if (streams_.error) streams_.error->process_exited(true);
  });
  if (!watch) return std::move(watch).error();
  cut_timer_.watch = *std::move(watch);
  return {};
}

void Process::check_end() {
  if (!ended() || end_reported_) return;
  end_reported_ = true;
  cut_timer_.watch.reset();
  on_end_(*this);
}

protocol::HelloReply::Process Process::describe() const {
  protocol::HelloReply::Process description;
  description.process = id_;
  description.container = container_;
  description.pid = pid_;
  description.stdout_bytes = streams_.output ? streams_.output->acknowledged() : 0;
  description.stderr_bytes = streams_.error ? streams_.error->acknowledged() : 0;
  description.exit = exit_;
  return description;
}

protocol::ProcessExited Process::exit_message() const {
  protocol::ProcessExited message;
  message.process = id_;
  message.status = *exit_;
  message.stdout_bytes = streams_.output ? streams_.output->length() : 0;
  message.stderr_bytes = streams_.error ? streams_.error->length() : 0;
  return message;
}

}  // namespace guest_init
