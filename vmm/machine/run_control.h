// RunControl: lets all vCPU threads of a machine run, park or end, together.
//
// Threads: vCPU threads call enter() and may_run(), the device thread set_phase() and parked(), any
// thread stop_running().
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <mutex>

namespace machine {

class RunControl {
 public:
  enum class Phase { kParked, kRunning, kEnding };

  /// `all_parked` is called on a vCPU thread, each time the last of `threads` has parked.
  RunControl(std::size_t threads, std::function<void()> all_parked)
      : threads_(threads), all_parked_(std::move(all_parked)) {}

  /// Waits while the phase is kParked. True: run the vCPU; false: the thread must end.
  bool enter();

  /// Whether the thread may go on running its vCPU.
  bool may_run() const { return phase_.load(std::memory_order_acquire) == Phase::kRunning; }

  /// Sets the phase that all threads are to enter. The caller kicks those that are inside the
  /// guest.
  void set_phase(Phase phase);

  /// As set_phase(kParked), if the phase is kRunning; else it does nothing.
  void stop_running();

  /// Whether all threads are parked now.
  bool parked() const;

 private:
  const std::size_t threads_;
  const std::function<void()> all_parked_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<Phase> phase_ = Phase::kParked;  // written under mutex_
  std::size_t parked_ = 0;                     // guarded by mutex_
};

}  // namespace machine
