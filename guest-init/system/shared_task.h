// SharedTask: a process that shares guest-init's memory and descriptors until it executes a
// program. It lives in namespaces and a cgroup of its own and carries out steps there for
// guest-init, which waits: the two never run at the same time, so they need no locks, and nothing
// has to be copied or encoded between them.
//
// Why not fork: no page of guest-init is copied, no page table is built, and the task can be made
// long before it is needed (in a template, before the clone).
//
// A step may change what belongs to a process: namespaces, credentials, working directory, signal
// mask. It must not close or replace descriptors, which are guest-init's as well, unless it has
// called unshare(CLONE_FILES) first.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

#include "vmm/base/mapped_region.h"
#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace guest_init {

class SharedTask {
 public:
  using Step = std::function<void()>;

  /// `namespaces`: CLONE_NEW* flags. `cgroup`: an open cgroup directory, or -1 to stay in ours.
  static base::Result<std::unique_ptr<SharedTask>> create(std::uint64_t namespaces, int cgroup);
  SharedTask(const SharedTask&) = delete;
  SharedTask& operator=(const SharedTask&) = delete;
  /// Kills the task if it has neither executed nor exited; its exit status stays to be reaped.
  ~SharedTask();

  /// Runs `step` in the task. kUnavailable if the task died before it came back.
  base::Result<void> run(const Step& step);

  /// Runs `step`, which ends in a successful execve or in _exit, and waits for that.
  void run_last(const Step& step);

  pid_t pid() const { return pid_; }
  int pidfd() const { return pidfd_.get(); }
  /// False once the task has executed a program or exited: no steps can be run in it then.
  bool attached() const { return tid_.load() != 0; }

 private:
  enum Turn : std::uint32_t { kOurs, kTheirs };

  explicit SharedTask(base::MappedRegion stack) : stack_(std::move(stack)) {}
  [[noreturn]] static void entry(void* self);
  void hand_over(const Step& step);
  void kill_and_wait();

  base::MappedRegion stack_;
  pid_t pid_ = -1;
  base::UniqueFd pidfd_;
  const Step* step_ = nullptr;
  std::atomic<std::uint32_t> turn_{kOurs};
  std::atomic<std::uint32_t> tid_{1};  // the kernel clears it when the task executes or exits
};

}  // namespace guest_init
