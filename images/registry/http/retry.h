// Retry: when a request is worth another try, and how long to wait before it.
#pragma once

#include <chrono>
#include <optional>
#include <string_view>

#include "vmm/base/result.h"

namespace registry {

struct RetryPolicy {
  int attempts = 5;
  std::chrono::milliseconds first_delay{500};
  std::chrono::milliseconds max_delay{16'000};
  /// What a registry may ask for with Retry-After.
  std::chrono::milliseconds max_asked_delay{60'000};
};

/// Whether a status (429, 5xx) or an Error (connection lost, stall, truncation) may be gone later.
bool is_transient(int status);
bool is_transient(const base::Error& error);

/// Before attempt `attempt` (from 1): exponential, the half of it random. `retry_after` is that
/// header's value in seconds, or empty.
std::chrono::milliseconds retry_delay(const RetryPolicy& policy, int attempt,
                                      std::string_view retry_after);

}  // namespace registry
