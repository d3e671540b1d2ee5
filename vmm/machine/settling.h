// Settling: waits until a freshly booted guest has given back the memory that it does not use.
//
// Linux reports free pages two seconds after the first are free, and touches thousands of its pages
// for that. A template saved earlier would make each clone do it again: by measurement, 1300 of the
// 1900 page faults that a clone took up to its first answer.
// Threads: the device thread. Ownership: the loop outlives it. Destroying it ends the wait.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>

#include "vmm/base/event_loop.h"
#include "vmm/base/unique_fd.h"

namespace machine {

class Settling {
 public:
  /// Longer than the kernel's PAGE_REPORTING_DELAY of 2 s.
  static constexpr std::chrono::milliseconds kQuiet{3000};
  static constexpr std::chrono::milliseconds kAtMost{20000};

  /// Calls `done` from the loop, once: when the number `activity` returns has not changed for
  /// kQuiet, or after kAtMost. `done` may destroy the Settling.
  static base::Result<std::unique_ptr<Settling>> start(base::EventLoop& loop,
                                                       std::function<std::uint64_t()> activity,
                                                       std::function<void()> done);

 private:
  static constexpr std::chrono::milliseconds kTick{250};

  Settling(base::UniqueFd timer, std::function<std::uint64_t()> activity,
           std::function<void()> done);
  void on_tick();

  base::UniqueFd timer_;
  std::function<std::uint64_t()> activity_;
  std::function<void()> done_;
  std::uint64_t last_;
  std::chrono::milliseconds quiet_{0};
  std::chrono::milliseconds total_{0};
  base::EventLoop::Watch watch_;
};

}  // namespace machine
