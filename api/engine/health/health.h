// Health: the state machine of a container's health check. A probe's result goes in; what the
// container is, and when it is probed next, comes out.
//
// Threads: any; nothing here does I/O or reads a clock. Memory: the last kHealthLog results, each
// with at most kHealthOutput bytes of output.
// Spec: Docker Engine API 1.51, HealthConfig and Health.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/engine/state/timestamp.h"

namespace engine {

inline constexpr std::size_t kHealthLog = 5;
inline constexpr std::size_t kHealthOutput = 4096;

/// What to run, and how its results count. A default stands for what nobody asked for.
struct HealthCheck {
  std::vector<std::string> command;
  std::chrono::nanoseconds interval = std::chrono::seconds(30);
  std::chrono::nanoseconds timeout = std::chrono::seconds(30);
  std::chrono::nanoseconds start_period{0};
  std::chrono::nanoseconds start_interval = std::chrono::seconds(5);
  std::int64_t retries = 3;
};

enum class HealthStatus { kStarting, kHealthy, kUnhealthy };

/// Docker's word: "starting".
std::string_view to_string(HealthStatus status);

/// One probe.
struct HealthResult {
  TimeNs start = 0;
  TimeNs end = 0;
  int exit_code = 0;   // -1: it did not come to an exit of its own
  std::string output;  // any bytes: the container chose them
};

struct Health {
  HealthStatus status = HealthStatus::kStarting;
  std::int64_t failing_streak = 0;
  std::deque<HealthResult> log;  // oldest first
};

/// Called at each start of the container. As in Docker, the results of earlier runs stay in the
/// log.
void start_checks(Health& health);

/// Called when probes stop (exit, pause): Docker calls a container that is not probed unhealthy.
void stop_checks(Health& health);

/// Takes a result in; `started_at`: when the container started. Returns whether the status changed.
bool take_result(Health& health, const HealthCheck& check, TimeNs started_at, HealthResult result);

/// How long after the last probe, or after the start, the next one begins. `running_for`: since the
/// container's start.
std::chrono::nanoseconds next_probe_in(const Health& health, const HealthCheck& check,
                                       std::chrono::nanoseconds running_for);

/// Gathers a probe's output: both streams as they come, cut with "..." at kHealthOutput.
class HealthOutput {
 public:
  void append(std::span<const std::byte> bytes);
  std::string text() const { return truncated_ ? text_ + "..." : text_; }

 private:
  std::string text_;
  bool truncated_ = false;
};

/// A result's text when the probe did not end within `timeout`.
std::string exceeded_timeout(std::chrono::nanoseconds timeout, const std::string& output);

/// As Go prints durations, and so Docker: "1m30s", "1.5s", "100ms".
std::string go_duration(std::chrono::nanoseconds duration);

}  // namespace engine
