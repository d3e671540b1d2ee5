#include "vmm/machine/run_control.h"

namespace machine {

bool RunControl::enter() {
  std::unique_lock lock(mutex_);
  if (phase_ == Phase::kParked && ++parked_ == threads_) {
    lock.unlock();
    all_parked_();
    lock.lock();
  } else if (phase_ != Phase::kParked) {
    return phase_ == Phase::kRunning;
  }
  changed_.wait(lock, [this] { return phase_ != Phase::kParked; });
  --parked_;
  return phase_ == Phase::kRunning;
}

void RunControl::set_phase(Phase phase) {
  {
    const std::lock_guard lock(mutex_);
    phase_ = phase;
  }
  changed_.notify_all();
}

void RunControl::stop_running() {
  const std::lock_guard lock(mutex_);
  if (phase_ == Phase::kRunning) phase_ = Phase::kParked;
}

bool RunControl::parked() const {
  const std::lock_guard lock(mutex_);
  return parked_ == threads_;
}

}  // namespace machine
