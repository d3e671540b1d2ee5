// log_error(): for errors that no answer to the host can carry. They go to the kernel log, of which
// the monitor keeps the end. Threads: the loop's.
#pragma once

#include <cstdint>
#include <string_view>

namespace guest_init {

/// Writes one sentence to /dev/kmsg, or to standard error where there is none.
void log_error(std::string_view sentence);

/// A log for events that somebody in the guest can cause as often as they like: it writes at most
/// one line in kPauseSeconds, and the line says how often the event happened since the last one.
class SeldomLog {
 public:
  static constexpr std::int64_t kPauseSeconds = 60;

  void tell(std::string_view sentence);

 private:
  std::uint64_t untold_ = 0;
  std::int64_t silent_until_ = 0;  // CLOCK_MONOTONIC, seconds
};

}  // namespace guest_init
