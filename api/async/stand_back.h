// StandBack: does work of any amount in such a way that others hardly feel it. The thread that does
// it should have nothing else to do.
//
// A low priority ("nice") counts among the threads of one cgroup only, and the machines are in
// groups of their own. So StandBack measures: a thread that had to wait for a processor (or the
// disk), because others wanted it as well, rests before it goes on, kPatience times as long as it
// had waited. If it has the host for itself it uses all of it, among many others a small part.
// Whoever waits for the work waits for the rests as well.
// Threads: any; each thread has a measurement, and rests, of its own.
#pragma once

#include <time.h>

#include <algorithm>
#include <chrono>
#include <thread>

namespace async {

class StandBack {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr int kPatience = 3;
  static constexpr std::chrono::milliseconds kLongestRest{200};

  /// How long to rest after a call that took `passed`, of which it had a processor for `used`.
  static constexpr Clock::duration rest_after(Clock::duration passed, Clock::duration used) {
    return std::clamp<Clock::duration>(kPatience * (passed - used), Clock::duration(0),
                                       kLongestRest);
  }

  /// Rests first, if the last call on this thread had to wait for others; then calls.
  template <typename Call>
  static auto run(const Call& call) {
    std::this_thread::sleep_until(rested_);
    const Busy busy;
    return call();
  }

 private:
  /// Measures one call, from its own construction to its destruction.
  class Busy {
   public:
    Busy() = default;
    ~Busy() {
      const auto end = Clock::now();
      rested_ = end + rest_after(end - began_, processor_time() - used_);
    }
    Busy(const Busy&) = delete;
    Busy& operator=(const Busy&) = delete;

   private:
    const Clock::time_point began_ = Clock::now();
    const std::chrono::nanoseconds used_ = processor_time();
  };

  static std::chrono::nanoseconds processor_time() {
    timespec used{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return std::chrono::seconds(used.tv_sec) + std::chrono::nanoseconds(used.tv_nsec);
  }

  static inline thread_local Clock::time_point rested_{};
};

}  // namespace async
