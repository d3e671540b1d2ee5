// Errors that have no other place to go: the kernel log, which the monitor keeps the end of.
#pragma once

#include <cstdint>
#include <string_view>

namespace guest_init {

/// Writes one sentence to /dev/kmsg, or to standard error where there is none.
void log_error(std::string_view sentence);

/// For what somebody in the guest can make happen as often as they like: at most one line in
/// kPauseSeconds, which says how often it happened since the one before.
class SeldomLog {
 public:
  static constexpr std::int64_t kPauseSeconds = 60;

  void tell(std::string_view sentence);

 private:
  std::uint64_t untold_ = 0;
  std::int64_t silent_until_ = 0;  // CLOCK_MONOTONIC, seconds
};

}  // namespace guest_init
