#include "api/engine/health/health.h"

#include <algorithm>

namespace engine {

using std::chrono::nanoseconds;

std::string_view to_string(HealthStatus status) {
  switch (status) {
    case HealthStatus::kStarting:
      return "starting";
    case HealthStatus::kHealthy:
      return "healthy";
    case HealthStatus::kUnhealthy:
      return "unhealthy";
  }
  return "unhealthy";
}

void start_checks(Health& health) {
  health.status = HealthStatus::kStarting;
  health.failing_streak = 0;
}

void stop_checks(Health& health) { health.status = HealthStatus::kUnhealthy; }

bool take_result(Health& health, const HealthCheck& check, TimeNs started_at, HealthResult result) {
  const HealthStatus before = health.status;
  const bool in_start_period =
      before == HealthStatus::kStarting && result.start - started_at < check.start_period.count();
  if (result.exit_code == 0) {
    health.failing_streak = 0;
    health.status = HealthStatus::kHealthy;
  } else if (!in_start_period && ++health.failing_streak >= check.retries) {
    health.status = HealthStatus::kUnhealthy;
  }
  health.log.push_back(std::move(result));
  while (health.log.size() > kHealthLog) health.log.pop_front();
  return health.status != before;
}

nanoseconds next_probe_in(const Health& health, const HealthCheck& check, nanoseconds running_for) {
  const bool in_start_period =
      health.status == HealthStatus::kStarting && running_for < check.start_period;
  return in_start_period ? check.start_interval : check.interval;
}

void HealthOutput::append(std::span<const std::byte> bytes) {
  const std::size_t kept = std::min(bytes.size(), kHealthOutput - text_.size());
  text_.append(reinterpret_cast<const char*>(bytes.data()), kept);
  truncated_ = truncated_ || kept < bytes.size();
}

std::string exceeded_timeout(nanoseconds timeout, const std::string& output) {
  const std::string text = "Health check exceeded timeout (" + go_duration(timeout) + ")";
  return output.empty() ? text : text + ": " + output;
}

namespace {

/// `value` in units of `unit`, with the fraction's digits that say something: "1.5".
std::string decimal(std::int64_t value, std::int64_t unit) {
  std::string text = std::to_string(value / unit);
  std::string fraction = std::to_string(unit + value % unit).substr(1);
  while (!fraction.empty() && fraction.back() == '0') fraction.pop_back();
  return fraction.empty() ? text : text + "." + fraction;
}

}  // namespace

std::string go_duration(nanoseconds duration) {
  constexpr std::int64_t kMicrosecond = 1'000;
  constexpr std::int64_t kMillisecond = 1'000'000;
  constexpr std::int64_t kSecond = 1'000'000'000;
  constexpr std::int64_t kMinute = 60 * kSecond;
  constexpr std::int64_t kHour = 60 * kMinute;
  const std::int64_t value = duration.count();
  if (value == 0) return "0s";
  if (value < kMicrosecond) return std::to_string(value) + "ns";
  if (value < kMillisecond) return decimal(value, kMicrosecond) + "µs";
  if (value < kSecond) return decimal(value, kMillisecond) + "ms";
  std::string text;
  if (value >= kHour) text += std::to_string(value / kHour) + "h";
  if (value >= kMinute) text += std::to_string(value % kHour / kMinute) + "m";
  return text + decimal(value % kMinute, kSecond) + "s";
}

}  // namespace engine
