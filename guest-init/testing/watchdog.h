// Ends a test program that hangs, and says where it and its children wait.
#pragma once

#include <chrono>
#include <thread>

namespace guest_init::testing {

/// From construction to destruction at most `limit` passes: else what every task of this process
/// and of its children waits for (/proc/PID/task: state, system call, kernel stack where root may
/// read it) goes to standard error, and the process aborts. The limit is of a hang, not of
/// slowness.
class Watchdog {
 public:
  explicit Watchdog(std::chrono::seconds limit);

 private:
  std::jthread thread_;  // stopped and joined by its destructor
};

}  // namespace guest_init::testing
