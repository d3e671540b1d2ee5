#include "guest-init/process/container_init.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <initializer_list>

namespace guest_init {
namespace {

int exit_code_of(int status) {
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

[[noreturn]] void run_command(char** command, const sigset_t& mask) {
  // A process group of its own, in the foreground, so that terminal signals reach all of it.
  setpgid(0, 0);
  if (isatty(0) != 0) {
    signal(SIGTTOU, SIG_IGN);
    tcsetpgrp(0, getpid());
    signal(SIGTTOU, SIG_DFL);
  }
  sigprocmask(SIG_SETMASK, &mask, nullptr);
  execvp(command[0], command);
  const int error = errno;
  dprintf(2, "exec %s failed: %s\n", command[0], std::strerror(error));
  _exit(error == ENOENT ? 127 : 126);
}

}  // namespace

int run_container_init(int argc, char** argv) {
  if (argc < 3) return 127;
  prctl(PR_SET_NAME, "docker-init");  // executed by descriptor, it would be called "init"
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  // This program's own faults are not blocked: they must end it.
  for (const int fault : {SIGFPE, SIGILL, SIGSEGV, SIGBUS, SIGABRT, SIGTRAP, SIGSYS})
    sigdelset(&all, fault);
  sigprocmask(SIG_SETMASK, &all, &before);

  const pid_t command = fork();
  if (command < 0) return 126;
  if (command == 0) run_command(argv + 2, before);
  for (;;) {
    siginfo_t received;
    const int number = sigwaitinfo(&all, &received);
    if (number > 0 && number != SIGCHLD) {
      kill(command, number);
      continue;
    }
    int status = 0;
    while (const pid_t pid = waitpid(-1, &status, WNOHANG)) {
      if (pid < 0) break;
      if (pid == command) return exit_code_of(status);
    }
  }
}

}  // namespace guest_init
