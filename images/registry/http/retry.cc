#include "images/registry/http/retry.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <random>

namespace registry {

using std::chrono::milliseconds;

bool is_transient(int status) {
  return status == 408 || status == 429 || (status >= 500 && status != 501 && status != 505);
}

bool is_transient(const base::Error& error) {
  return error.code == base::Code::kUnavailable || error.code == base::Code::kDeadlineExceeded;
}

milliseconds retry_delay(const RetryPolicy& policy, int attempt, std::string_view retry_after) {
  std::int64_t seconds = -1;
  const auto [end, error] =
      std::from_chars(retry_after.data(), retry_after.data() + retry_after.size(), seconds);
  if (error == std::errc() && end == retry_after.data() + retry_after.size() && seconds >= 0) {
    constexpr std::int64_t kDay = 24 * 3600;
    return std::min(milliseconds(std::min(seconds, kDay) * 1000), policy.max_asked_delay);
  }
  const std::int64_t most = std::min(policy.first_delay.count() << std::clamp(attempt - 1, 0, 16),
                                     policy.max_delay.count());
  // The system's: a generator for each thread is not worth its memory.
  std::random_device random;
  return milliseconds(most / 2 + static_cast<std::int64_t>(random()) % (most / 2 + 1));
}

}  // namespace registry
