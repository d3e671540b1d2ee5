#include "vmm/emulated/agent/agent_exec.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <optional>

#include "vmm/emulated/link/channel.h"
#include "vmm/emulated/link/streams.h"

namespace emulated {
namespace {

using std::chrono::steady_clock;
constexpr auto kKillGrace = std::chrono::seconds(2);
constexpr auto kSendTimeout = std::chrono::seconds(10);

struct Pipe {
  base::UniqueFd read;
  base::UniqueFd write;
};

base::Result<Pipe> make_pipe() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) < 0) return base::errno_error("pipe");
  return Pipe{base::UniqueFd(fds[0]), base::UniqueFd(fds[1])};
}

/// The process's ends (0, 1, 2) and ours.
struct Stdio {
  std::array<base::UniqueFd, 3> theirs;
  base::UniqueFd in;
  base::UniqueFd out;
  base::UniqueFd err;
};

base::Result<Stdio> make_pipes() {
  auto in = make_pipe();
  if (!in) return std::move(in).error();
  auto out = make_pipe();
  if (!out) return std::move(out).error();
  auto err = make_pipe();
  if (!err) return std::move(err).error();
  Stdio result;
  result.theirs = {std::move(in->read), std::move(out->write), std::move(err->write)};
  result.in = std::move(in->write);
  result.out = std::move(out->read);
  result.err = std::move(err->read);
  return result;
}

base::Result<Stdio> make_terminal(std::uint16_t rows, std::uint16_t columns) {
  winsize size{};
  size.ws_row = rows;
  size.ws_col = columns;
  int master = -1;
  int terminal = -1;
  if (::openpty(&master, &terminal, nullptr, nullptr, &size) < 0)
    return base::errno_error("opening a pseudo terminal");
  Stdio result;
  result.in.reset(master);
  result.theirs[0].reset(terminal);
  ::fcntl(master, F_SETFD, FD_CLOEXEC);
  ::fcntl(terminal, F_SETFD, FD_CLOEXEC);
  for (base::UniqueFd* copy : {&result.theirs[1], &result.theirs[2]})
    copy->reset(::fcntl(terminal, F_DUPFD_CLOEXEC, 3));
  result.out.reset(::fcntl(master, F_DUPFD_CLOEXEC, 3));
  return result;
}

std::vector<char*> pointers(const std::vector<std::string>& strings) {
  std::vector<char*> result;
  for (const std::string& text : strings) result.push_back(const_cast<char*>(text.c_str()));
  result.push_back(nullptr);
  return result;
}

/// Which step failed in the child before exec, and its errno.
struct ChildFailure {
  std::uint32_t in_directory = 0;
  int error = 0;
};

[[noreturn]] void become_process(const StartExec& request, const Stdio& stdio, int report) {
  ChildFailure failure;
  ::setsid();
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (int fd = 0; fd < 3; ++fd) ::dup2(stdio.theirs[static_cast<std::size_t>(fd)].get(), fd);
  if (request.tty) ::ioctl(0, TIOCSCTTY, 0);
  for (int number = 1; number < NSIG; ++number) ::signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  if (::chdir(request.cwd.c_str()) < 0) {
    failure = {.in_directory = 1, .error = errno};
  } else {
    std::vector<char*> argv = pointers(request.argv);
    ::clearenv();
    // If a variable is there twice the last one counts. Programs differ in which one they would
    // take.
    for (const std::string& entry : request.env) ::putenv(const_cast<char*>(entry.c_str()));
    ::execvp(argv[0], argv.data());  // Looks in the PATH of the environment just set.
    failure = {.in_directory = 0, .error = errno};
  }
  [[maybe_unused]] const auto written = ::write(report, &failure, sizeof failure);
  ::_exit(127);
}

base::Result<pid_t> start_process(const StartExec& request, const Stdio& stdio) {
  auto report = make_pipe();
  if (!report) return std::move(report).error();
  const pid_t pid = ::fork();
  if (pid < 0) return base::errno_error("fork");
  if (pid == 0) become_process(request, stdio, report->write.get());
  report->write.reset();
  ChildFailure failure;
  if (::read(report->read.get(), &failure, sizeof failure) != sizeof failure) return pid;
  ::waitpid(pid, nullptr, 0);
  return base::errno_error(failure.in_directory != 0 ? request.cwd : request.argv[0],
                           failure.error);
}

/// The connection of one running process.
class ExecSession {
 public:
  ExecSession(base::UniqueFd socket, pid_t pid, bool tty, Stdio stdio, base::UniqueFd child_events)
      : channel_(std::move(socket)),
        pid_(pid),
        tty_(tty),
        in_(StreamName::kStdin, std::move(stdio.in)),
        out_(StreamName::kStdout, std::move(stdio.out)),
        err_(StreamName::kStderr, std::move(stdio.err)),
        child_events_(std::move(child_events)) {}

  void run() {
    channel_.send(Ready{});
    while (!finished()) {
      if (!step()) {
        kill_group();
        return;
      }
    }
    channel_.send(exited_message());
    wait_for_client();
  }

 private:
  /// The process is gone and what it wrote has been read.
  bool finished() const { return status_.has_value() && !has_output(out_) && !has_output(err_); }

  static bool has_output(const Source& source) {
    if (!source.open()) return false;
    pollfd entry{.fd = source.fd(), .events = POLLIN, .revents = 0};
    return ::poll(&entry, 1, 0) > 0 && (entry.revents & POLLIN);
  }

  /// Sends what is left and waits until the client hangs up: closing earlier, with its last Credit
  /// unread, would reset the connection and could take the exit status with it.
  void wait_for_client() {
    const auto deadline = steady_clock::now() + kSendTimeout;
    while (steady_clock::now() < deadline) {
      if (!channel_.flush()) return;
      pollfd entry{channel_.fd(),
                   static_cast<short>(POLLIN | (channel_.wants_to_write() ? POLLOUT : 0)), 0};
      if (::poll(&entry, 1, 1000) > 0 && entry.revents & ~POLLOUT && !receive()) return;
    }
  }

  /// One round of the loop; false when the connection is lost.
  bool step() {
    std::array<pollfd, 5> entries{
        pollfd{channel_.fd(),
               static_cast<short>(POLLIN | (channel_.wants_to_write() ? POLLOUT : 0)), 0},
        pollfd{child_events_.get(), POLLIN, 0},
        pollfd{in_.wants_to_write() ? in_.fd() : -1, POLLOUT, 0},
        pollfd{out_.wants_to_read() ? out_.fd() : -1, POLLIN, 0},
        pollfd{err_.wants_to_read() ? err_.fd() : -1, POLLIN, 0}};
    if (::poll(entries.data(), entries.size(), -1) < 0) return errno == EINTR;
    if (entries[1].revents != 0) reap();
    if (entries[2].revents != 0) in_.on_ready(channel_);
    if (entries[3].revents != 0) out_.on_ready(channel_);
    if (entries[4].revents != 0) err_.on_ready(channel_);
    if (entries[0].revents & (POLLIN | POLLHUP | POLLERR) && !receive()) return false;
    return channel_.flush().has_value();
  }

  bool receive() {
    if (const auto more = channel_.fill(); !more || !*more) return false;
    for (;;) {
      auto frame = channel_.next();
      if (!frame) return false;
      if (!*frame) return true;
      if (!handle(**frame)) return false;
    }
  }

  base::Result<void> handle(const wire::RawFrame& frame) {
    switch (static_cast<MessageType>(frame.type)) {
      case MessageType::kData:
        return on_message<Data>(frame);
      case MessageType::kClose:
        return on_message<Close>(frame);
      case MessageType::kCredit:
        return on_message<Credit>(frame);
      case MessageType::kResize:
        return on_message<Resize>(frame);
      case MessageType::kSignal:
        return on_message<Signal>(frame);
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
    if (data.stream != StreamName::kStdin)
      return base::Error{base::Code::kDataLoss, "data for an output stream"};
    return in_.on_data(data.bytes, channel_);
  }

  base::Result<void> on(const Close& close) {
    if (close.stream == StreamName::kStdout) out_.on_close();
    if (close.stream == StreamName::kStderr) err_.on_close();
    if (close.stream != StreamName::kStdin) return {};
    if (tty_) {
      in_.add_own(std::byte{4});  // the terminal's end-of-file character
    } else {
      in_.on_close();
    }
    return {};
  }

  base::Result<void> on(const Credit& credit) {
    if (credit.stream == StreamName::kStdout) return out_.on_credit(credit.bytes);
    if (credit.stream == StreamName::kStderr) return err_.on_credit(credit.bytes);
    return base::Error{base::Code::kDataLoss, "credit for an input stream"};
  }

  base::Result<void> on(const Resize& resize) {
    winsize size{};
    size.ws_row = resize.rows;
    size.ws_col = resize.columns;
    if (tty_ && in_.open()) ::ioctl(in_.fd(), TIOCSWINSZ, &size);
    return {};
  }

  base::Result<void> on(const Signal& signal) {
    if (signal.number == 0 || signal.number >= NSIG)
      return base::Error{base::Code::kDataLoss, "no such signal"};
    if (!status_) ::kill(-pid_, static_cast<int>(signal.number));
    return {};
  }

  void reap() {
    signalfd_siginfo info;
    [[maybe_unused]] const auto n = ::read(child_events_.get(), &info, sizeof info);
    int status = 0;
    if (!status_ && ::waitpid(pid_, &status, WNOHANG) == pid_) status_ = status;
  }

  Exited exited_message() const {
    if (WIFSIGNALED(*status_))
      return {.signaled = true, .number = static_cast<std::uint32_t>(WTERMSIG(*status_))};
    return {.signaled = false, .number = static_cast<std::uint32_t>(WEXITSTATUS(*status_))};
  }

  void kill_group() {
    if (status_) return;  // What the command left running in the background is meant to stay.
    ::kill(-pid_, SIGTERM);
    const auto deadline = steady_clock::now() + kKillGrace;
    while (!status_ && steady_clock::now() < deadline) {
      pollfd entry{.fd = child_events_.get(), .events = POLLIN, .revents = 0};
      if (::poll(&entry, 1, 100) > 0) reap();
    }
    ::kill(-pid_, SIGKILL);
    if (!status_) ::waitpid(pid_, nullptr, 0);
  }

  Channel channel_;
  pid_t pid_;
  bool tty_;
  Sink in_;
  Source out_;
  Source err_;
  base::UniqueFd child_events_;
  std::optional<int> status_;
};

base::Result<base::UniqueFd> watch_children() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  base::UniqueFd fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd) return base::errno_error("signalfd");
  return fd;
}

void refuse(int socket, const base::Error& error) {
  const Refused message{.code = error.code, .reason = error.message};
  (void)write_all(socket, wire::frame(message), steady_clock::now() + kSendTimeout);
}

}  // namespace

void serve_exec(base::UniqueFd socket, const StartExec& request) {
  if (request.argv.empty() || request.argv[0].empty())
    return refuse(socket.get(), {base::Code::kInvalidArgument, "no command given"});
  auto children = watch_children();
  if (!children) return refuse(socket.get(), children.error());
  auto stdio = request.tty ? make_terminal(request.rows, request.columns) : make_pipes();
  if (!stdio) return refuse(socket.get(), stdio.error());
  const auto pid = start_process(request, *stdio);
  if (!pid) return refuse(socket.get(), pid.error());
  stdio->theirs = {};
  ExecSession(std::move(socket), *pid, request.tty, std::move(*stdio), std::move(*children)).run();
}

}  // namespace emulated
