// WorkShare: how much of a thread's time may go into one kind of work, whoever asks for it.
//
// Work is begun while allows() says so, and told by spend() when it is done. In the long run it
// takes `part` of the time; what was not used is kept up to `burst`. A value; threads: one.
#pragma once

#include <algorithm>
#include <chrono>

namespace async {

class WorkShare {
 public:
  using Clock = std::chrono::steady_clock;

  WorkShare(double part, std::chrono::nanoseconds burst) : part_(part), burst_(burst) {}

  bool allows(Clock::time_point now) {
    const auto earned = std::chrono::duration_cast<std::chrono::nanoseconds>(
        std::chrono::duration<double, std::nano>(now - last_) * part_);
    last_ = now;
    spent_ = std::max(spent_ - earned, std::chrono::nanoseconds(0));
    return spent_ < burst_;
  }

  void spend(std::chrono::nanoseconds time) { spent_ += time; }

 private:
  double part_;
  std::chrono::nanoseconds burst_;
  std::chrono::nanoseconds spent_{0};
  Clock::time_point last_{};
};

}  // namespace async
