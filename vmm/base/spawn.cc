#include "vmm/base/spawn.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace base {

namespace {

/// Runs in the child, between clone and execve: system calls only, nothing that allocates or locks.
class Child {
 public:
  Child(const SpawnPlan& plan, char* const* argv, int null, int report)
      : plan_(plan),
        oom_score_(std::to_string(plan.oom_score_adj)),
        argv_(argv),
        null_(null),
        report_(report) {}

  [[noreturn]] void run() {
    reset_signals();
    ::setsid();
    place_descriptors();
    char* const no_environment[] = {nullptr};
    if (set_oom_score()) ::execve(argv_[0], argv_, no_environment);
    const int error = errno;
    [[maybe_unused]] const auto written = ::write(report_, &error, sizeof error);
    ::_exit(127);
  }

 private:
  static void reset_signals() {
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::signal(SIGPIPE, SIG_DFL);  // the only one that the daemon ignores; handlers go with execve
  }

  /// Copies the descriptors to numbers above all targets, then onto the targets. execve closes all
  /// others, the report pipe among them.
  void place_descriptors() {
    const int count = static_cast<int>(plan_.descriptors.size());
    report_ = ::fcntl(report_, F_DUPFD_CLOEXEC, 2 * count + 1);
    for (int i = 0; i < count; ++i) {
      const int from = plan_.descriptors[static_cast<std::size_t>(i)];
      moved_[i] = ::fcntl(from >= 0 ? from : null_, F_DUPFD_CLOEXEC, 2 * count + 1);
    }
    for (int i = 0; i < count; ++i) ::dup2(moved_[i], i);
    ::syscall(SYS_close_range, count, ~0u, CLOSE_RANGE_CLOEXEC);
  }

  bool set_oom_score() const {
    const int file = ::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    const auto size = static_cast<ssize_t>(oom_score_.size());
    return file >= 0 && ::write(file, oom_score_.data(), oom_score_.size()) == size;
  }

  const SpawnPlan& plan_;
  const std::string oom_score_;
  char* const* argv_;
  int null_;
  int report_;
  int moved_[16] = {};
};

}  // namespace

Result<Spawned> spawn(const SpawnPlan& plan) {
  if (plan.argv.empty() || plan.descriptors.size() > 16)
    return Error{Code::kInvalidArgument,
                 "a program to start needs a path and has at most 16 descriptors"};
  std::vector<char*> argv;
  for (const std::string& argument : plan.argv) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  int pipe_ends[2];
  if (!null || ::pipe2(pipe_ends, O_CLOEXEC) != 0) return errno_error("pipe");
  const UniqueFd report_in(pipe_ends[0]);
  UniqueFd report_out(pipe_ends[1]);

  int pidfd = -1;
  clone_args arguments{};
  arguments.flags = CLONE_PIDFD;
  arguments.pidfd = reinterpret_cast<std::uintptr_t>(&pidfd);
  arguments.exit_signal = SIGCHLD;
  if (plan.own_pid_namespace) arguments.flags |= CLONE_NEWPID;
  if (plan.group >= 0) {
    arguments.flags |= CLONE_INTO_CGROUP;
    arguments.cgroup = static_cast<unsigned>(plan.group);
  }
  Child child(plan, argv.data(), null.get(), report_out.get());
  const long pid = ::syscall(SYS_clone3, &arguments, sizeof arguments);
  if (pid < 0) return errno_error("clone");
  if (pid == 0) child.run();

  Spawned spawned{static_cast<pid_t>(pid), UniqueFd(pidfd)};
  report_out.reset();
  int error = 0;
  ssize_t got = 0;
  do {
    got = ::read(report_in.get(), &error, sizeof error);  // ends with execve
  } while (got < 0 && errno == EINTR);
  if (got == 0) return spawned;
  siginfo_t ignored;
  ::waitid(P_PIDFD, static_cast<id_t>(spawned.pidfd.get()), &ignored, WEXITED);
  return errno_error("execute " + plan.argv[0], error);
}

}  // namespace base
