// For tests: runs a body in a child that entered the sandbox, and tells how the child ended.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <functional>

#include "vmm/sandbox/sandbox.h"

namespace sandbox {

inline constexpr int kCouldNotEnter = 99;
inline constexpr uid_t kUid = 54321;

/// _exit() without what a sanitizer does at calls that do not return (sigaltstack, which no filter
/// allows).
inline void leave(int code) { ::syscall(SYS_exit_group, code); }

/// Runs `body` in a child that entered the sandbox; returns how it ended. The child makes system
/// calls only and leaves by _exit(), so that no sanitizer's or library's exit work is in the way.
inline int run_in_sandbox(const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    Settings settings;
    if (::geteuid() == 0) settings.identity = Identity{kUid, kUid};
    if (!enter(std::move(settings))) leave(kCouldNotEnter);
    leave(body());
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return status;
}

inline void* map_anonymous(int protection, int flags) {
  return ::mmap(nullptr, 4096, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
}

class SandboxTest : public testing::Test {
 protected:
  void SetUp() override {
    const int status = run_in_sandbox([] { return 0; });
    if (WIFEXITED(status) && WEXITSTATUS(status) == kCouldNotEnter)
      GTEST_SKIP() << "this user cannot make namespaces here";
    ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  }

  static bool killed_by_filter(int status) {
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
  }
  static bool killed(const std::function<int()>& body) {
    return killed_by_filter(run_in_sandbox(body));
  }
  static int exit_code(const std::function<int()>& body) {
    const int status = run_in_sandbox(body);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
};

}  // namespace sandbox
