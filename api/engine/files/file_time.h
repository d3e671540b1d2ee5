// A file's time of modification, as archives have it, in the nanoseconds of the guest's protocol.
#pragma once

#include <cstdint>
#include <limits>

namespace engine {

inline constexpr std::int64_t kNanosecondsASecond = 1'000'000'000;

/// Since the epoch; `nanoseconds` in [0, 10^9). An archive may name any second: what is out of
/// range (before 1677, after 2262) becomes the end of the range.
inline std::int64_t file_time_ns(std::int64_t seconds, std::int64_t nanoseconds) {
  std::int64_t time = 0;
  if (__builtin_mul_overflow(seconds, kNanosecondsASecond, &time) ||
      __builtin_add_overflow(time, nanoseconds, &time))
    return seconds < 0 ? std::numeric_limits<std::int64_t>::min()
                       : std::numeric_limits<std::int64_t>::max();
  return time;
}

}  // namespace engine
