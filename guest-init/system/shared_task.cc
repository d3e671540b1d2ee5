#include "guest-init/system/shared_task.h"

#include <linux/futex.h>
#include <sanitizer/asan_interface.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>

#include "guest-init/arch/clone.h"

namespace guest_init {
namespace {

constexpr std::size_t kStackSize = 256u << 10;  // only what is used is ever touched

void wake(std::atomic<std::uint32_t>& word) {
  syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

void wait_while(std::atomic<std::uint32_t>& word, std::uint32_t value) {
  while (word.load() == value) syscall(SYS_futex, &word, FUTEX_WAIT, value, nullptr, nullptr, 0);
}

/// Waits until one of the two words differs from its value.
void wait_while_both(std::atomic<std::uint32_t>& a, std::uint32_t a_value,
                     std::atomic<std::uint32_t>& b, std::uint32_t b_value) {
  const auto address = [](auto& word) { return reinterpret_cast<std::uintptr_t>(&word); };
  futex_waitv words[2] = {
      {.val = a_value, .uaddr = address(a), .flags = FUTEX_32, .__reserved = 0},
      {.val = b_value, .uaddr = address(b), .flags = FUTEX_32, .__reserved = 0}};
  while (a.load() == a_value && b.load() == b_value)
    syscall(SYS_futex_waitv, words, 2, 0, nullptr, 0);
}

}  // namespace

base::Result<std::unique_ptr<SharedTask>> SharedTask::create(std::uint64_t namespaces, int cgroup) {
  auto stack = base::MappedRegion::map(kStackSize, PROT_READ | PROT_WRITE,
                                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK);
  if (!stack) return annotate(std::move(stack), "stack of a task");
  // A task that executed a program left its frames marked where this one's stack may be now.
  ASAN_UNPOISON_MEMORY_REGION(stack->data(), stack->size());
  std::unique_ptr<SharedTask> task(new SharedTask(*std::move(stack)));

  int pidfd = -1;
  clone_args arguments{};
  arguments.flags = CLONE_VM | CLONE_FILES | CLONE_PIDFD | CLONE_CHILD_CLEARTID;
  arguments.flags |= static_cast<__u64>(namespaces);
  if (cgroup >= 0) {
    arguments.flags |= CLONE_INTO_CGROUP;
    arguments.cgroup = static_cast<__u64>(cgroup);
  }
  arguments.pidfd = reinterpret_cast<std::uintptr_t>(&pidfd);
  arguments.child_tid = reinterpret_cast<std::uintptr_t>(&task->tid_);
  arguments.exit_signal = SIGCHLD;
  arguments.stack = reinterpret_cast<std::uintptr_t>(task->stack_.data());
  arguments.stack_size = task->stack_.size();
  const long pid = clone3_onto_stack(arguments, &SharedTask::entry, task.get());
  if (pid < 0) {
    task->tid_ = 0;
    return base::errno_error("clone3", static_cast<int>(-pid));
  }
  task->pid_ = static_cast<pid_t>(pid);
  task->pidfd_.reset(pidfd);
  return task;
}

SharedTask::~SharedTask() {
  if (attached()) kill_and_wait();
}

void SharedTask::entry(void* argument) {
  auto& self = *static_cast<SharedTask*>(argument);
  for (;;) {
    wait_while(self.turn_, kOurs);
    (*self.step_)();
    self.turn_ = kOurs;
    wake(self.turn_);
  }
}

void SharedTask::hand_over(const Step& step) {
  step_ = &step;
  turn_ = kTheirs;
  wake(turn_);
}

base::Result<void> SharedTask::run(const Step& step) {
  if (!attached()) return base::Error{base::Code::kUnavailable, "the task is gone"};
  hand_over(step);
  wait_while_both(turn_, kTheirs, tid_, 1);
  if (!attached()) return base::Error{base::Code::kUnavailable, "the task died"};
  return {};
}

void SharedTask::run_last(const Step& step) {
  if (!attached()) return;
  hand_over(step);
  wait_while_both(turn_, kTheirs, tid_, 1);
  if (attached()) kill_and_wait();
}

void SharedTask::kill_and_wait() {
  syscall(SYS_pidfd_send_signal, pidfd_.get(), SIGKILL, nullptr, 0);
  wait_while(tid_, 1);
}

}  // namespace guest_init
