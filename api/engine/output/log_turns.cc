#include "api/engine/output/log_turns.h"

#include <algorithm>

namespace engine {

async::BlockingPool& LogTurns::pool() {
  const auto now = std::chrono::steady_clock::now();
  const auto passed = std::chrono::duration_cast<std::chrono::milliseconds>(now - allowed_at_);
  const std::int64_t most = kAllowance * 1000 / kAllowancePerSecond;
  const std::int64_t gained = std::min(passed.count(), most) * kAllowancePerSecond / 1000;
  if (gained > 0) {
    allowance_ = std::min(kAllowance, allowance_ + gained);
    allowed_at_ = now;
  }
  return allowance_ > 0 ? pools_.prompt : pools_.bulk;
}

void LogTurns::use_allowance(std::size_t bytes) {
  allowance_ = std::max(-kAllowance, allowance_ - static_cast<std::int64_t>(bytes));
}

}  // namespace engine
