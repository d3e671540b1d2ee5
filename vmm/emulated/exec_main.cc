// containervm-exec: runs a command inside the emulated machine, as if it ran here: standard
// streams, signals and the exit status pass through.
//
// usage: containervm-exec --machine DIR [--tty] [--cwd DIR] [--env KEY=VALUE]... -- COMMAND
// [ARG]... Exit status: the command's; 127 no such command, 126 it cannot be run, 125 the machine
// failed. If the command died of a signal, so does this program.
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <optional>

#include "vmm/base/scope_exit.h"
#include "vmm/emulated/link/agent_client.h"
#include "vmm/emulated/link/streams.h"

namespace emulated {
namespace {

constexpr auto kConnectTimeout = std::chrono::seconds(30);
constexpr std::array kForwarded{SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};

base::Result<base::UniqueFd> watch_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : kForwarded) sigaddset(&set, number);
  sigaddset(&set, SIGWINCH);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  base::UniqueFd fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd) return base::errno_error("signalfd");
  return fd;
}

winsize terminal_size() {
  winsize size{};
  if (::ioctl(STDIN_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_row == 0) {
    size.ws_row = 24;
    size.ws_col = 80;
  }
  return size;
}

/// Makes standard input raw while it lives, if it is a terminal.
class RawTerminal {
 public:
  explicit RawTerminal(bool wanted) {
    if (!wanted || ::tcgetattr(STDIN_FILENO, &saved_) < 0) return;
    termios raw = saved_;
    ::cfmakeraw(&raw);
    active_ = ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &raw) == 0;
  }
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;
  ~RawTerminal() {
    if (active_) ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &saved_);
  }

 private:
  termios saved_{};
  bool active_ = false;
};

class ExecClient {
 public:
  ExecClient(base::UniqueFd socket, base::UniqueFd signals)
      : channel_(std::move(socket)),
        signals_(std::move(signals)),
        in_(StreamName::kStdin, base::UniqueFd(STDIN_FILENO)),
        out_(StreamName::kStdout, base::UniqueFd(STDOUT_FILENO)),
        err_(StreamName::kStderr, base::UniqueFd(STDERR_FILENO)) {}

  base::Result<Exited> run() {
    while (!exited_ || !out_.drained() || !err_.drained()) RETURN_IF_ERROR(step());
    return *exited_;
  }

 private:
  base::Result<void> step() {
    const short to_agent = channel_.wants_to_write() ? POLLOUT : 0;
    std::array<pollfd, 5> entries{
        pollfd{exited_ ? -1 : channel_.fd(), static_cast<short>(POLLIN | to_agent), 0},
        pollfd{signals_.get(), POLLIN, 0},
        pollfd{in_.wants_to_read() && !exited_ ? in_.fd() : -1, POLLIN, 0},
        pollfd{out_.wants_to_write() ? out_.fd() : -1, POLLOUT, 0},
        pollfd{err_.wants_to_write() ? err_.fd() : -1, POLLOUT, 0}};
    if (::poll(entries.data(), entries.size(), -1) < 0)
      return errno == EINTR ? base::Result<void>() : base::errno_error("poll");
    if (entries[1].revents != 0) forward_signals();
    if (entries[2].revents != 0) in_.on_ready(channel_);
    if (entries[3].revents != 0) out_.on_ready(channel_);
    if (entries[4].revents != 0) err_.on_ready(channel_);
    if (entries[0].revents & (POLLIN | POLLHUP | POLLERR)) RETURN_IF_ERROR(receive());
    return exited_ ? base::Result<void>() : channel_.flush();
  }

  base::Result<void> receive() {
    const auto more = channel_.fill();
    if (!more) return more.error();
    for (;;) {
      auto frame = channel_.next();
      if (!frame) return std::move(frame).error();
      if (!*frame) break;
      RETURN_IF_ERROR(handle(**frame));
    }
    if (!*more && !exited_)
      return base::Error{base::Code::kUnavailable, "the emulated machine went away"};
    return {};
  }

  base::Result<void> handle(const wire::RawFrame& frame) {
    switch (static_cast<MessageType>(frame.type)) {
      case MessageType::kData:
        return on_message<Data>(frame);
      case MessageType::kClose:
        return on_message<Close>(frame);
      case MessageType::kCredit:
        return on_message<Credit>(frame);
      case MessageType::kExited:
        return on_message<Exited>(frame);
      default:
        return base::Error{base::Code::kDataLoss, "an unexpected message type"};
    }
  }

  template <typename M>
  base::Result<void> on_message(const wire::RawFrame& frame) {
    const auto message = expect<M>(frame);
    if (!message) return message.error();
    return on(*message);
  }

  base::Result<void> on(const Data& data) {
    if (data.stream == StreamName::kStdin)
      return base::Error{base::Code::kDataLoss, "data for the input stream"};
    return (data.stream == StreamName::kStdout ? out_ : err_).on_data(data.bytes, channel_);
  }

  base::Result<void> on(const Close& close) {
    if (close.stream == StreamName::kStdin) in_.on_close();
    if (close.stream == StreamName::kStdout) out_.on_close();
    if (close.stream == StreamName::kStderr) err_.on_close();
    return {};
  }

  base::Result<void> on(const Credit& credit) { return in_.on_credit(credit.bytes); }

  base::Result<void> on(const Exited& exited) {
    exited_ = exited;
    return {};
  }

  void forward_signals() {
    signalfd_siginfo info;
    while (::read(signals_.get(), &info, sizeof info) == sizeof info) {
      if (info.ssi_signo == SIGWINCH) {
        const winsize size = terminal_size();
        channel_.send(Resize{.rows = size.ws_row, .columns = size.ws_col});
      } else {
        channel_.send(Signal{.number = info.ssi_signo});
      }
    }
  }

  Channel channel_;
  base::UniqueFd signals_;
  Source in_;
  Sink out_;
  Sink err_;
  std::optional<Exited> exited_;
};

base::Result<Exited> run(const std::string& machine, StartExec request) {
  const auto endpoint = read_endpoint(machine);
  if (!endpoint) return endpoint.error();
  const winsize size = terminal_size();
  request.rows = size.ws_row;
  request.columns = size.ws_col;
  auto signals = watch_signals();
  if (!signals) return std::move(signals).error();
  ::signal(SIGPIPE, SIG_IGN);
  auto socket = open_connection(*endpoint, wire::frame(request),
                                std::chrono::steady_clock::now() + kConnectTimeout);
  if (!socket) return std::move(socket).error();
  RawTerminal raw(request.tty);
  return ExecClient(std::move(*socket), std::move(*signals)).run();
}

[[noreturn]] void end_like(const Exited& exited) {
  if (!exited.signaled) ::_exit(static_cast<int>(exited.number & 0xffu));
  const int number = static_cast<int>(exited.number & 0x7fu);
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  ::signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::kill(::getpid(), number);
  ::_exit(128 + number);
}

int status_of(const base::Error& error) {
  if (error.code == base::Code::kNotFound) return 127;
  if (error.code == base::Code::kPermissionDenied) return 126;
  return 125;
}

}  // namespace
}  // namespace emulated

int main(int argc, char** argv) {
  CLI::App app{"Runs a command inside the emulated machine."};
  std::string machine;
  emulated::StartExec request;
  request.cwd = "/";
  app.add_option("--machine", machine, "The machine's directory")->required();
  app.add_flag("--tty", request.tty, "Give the command a terminal");
  app.add_option("--cwd", request.cwd, "Its working directory");
  app.add_option("--env", request.env, "KEY=VALUE for its environment")->allow_extra_args(false);
  app.add_option("command", request.argv, "The command and its arguments")->required();
  app.positionals_at_end();
  CLI11_PARSE(app, argc, argv);
  const auto exited = emulated::run(machine, std::move(request));
  if (exited) emulated::end_like(*exited);
  ::dprintf(STDERR_FILENO, "containervm: %s\n", exited.error().message.c_str());
  return emulated::status_of(exited.error());
}
