#include "api/engine/health/health.h"

#include <gtest/gtest.h>

namespace engine {
namespace {

using namespace std::chrono_literals;

constexpr TimeNs kStart = 1'000'000'000'000;
constexpr TimeNs kSecond = 1'000'000'000;

HealthResult result_at(std::int64_t seconds, int exit_code) {
  return {.start = kStart + seconds * kSecond,
          .end = kStart + seconds * kSecond + 1,
          .exit_code = exit_code,
          .output = std::to_string(seconds)};
}

class HealthTest : public testing::Test {
 protected:
  bool take(std::int64_t seconds, int exit_code) {
    return take_result(health_, check_, kStart, result_at(seconds, exit_code));
  }

  HealthCheck check_;
  Health health_;
};

TEST_F(HealthTest, IsStartingUntilTheFirstSuccess) {
  const bool first = take(1, 1);
  const bool second = take(2, 0);

  EXPECT_FALSE(first);
  EXPECT_TRUE(second);
  EXPECT_EQ(health_.status, HealthStatus::kHealthy);
  EXPECT_EQ(health_.failing_streak, 0);
}

TEST_F(HealthTest, IsUnhealthyAfterAsManyFailuresInARowAsRetries) {
  check_.retries = 2;
  take(1, 0);

  EXPECT_FALSE(take(2, 1));
  EXPECT_TRUE(take(3, 127));
  EXPECT_FALSE(take(4, -1));

  EXPECT_EQ(health_.status, HealthStatus::kUnhealthy);
  EXPECT_EQ(health_.failing_streak, 3);
}

TEST_F(HealthTest, OneSuccessMakesItHealthyAgain) {
  check_.retries = 1;
  take(1, 1);

  const bool changed = take(2, 0);

  EXPECT_TRUE(changed);
  EXPECT_EQ(health_.status, HealthStatus::kHealthy);
}

TEST_F(HealthTest, ASuccessBetweenFailuresBeginsTheStreakAgain) {
  check_.retries = 2;

  for (const int code : {1, 0, 1, 0, 1}) take(1, code);

  EXPECT_EQ(health_.status, HealthStatus::kHealthy);
  EXPECT_EQ(health_.failing_streak, 1);
}

TEST_F(HealthTest, FailuresInTheStartPeriodAreLoggedButDoNotCount) {
  check_.retries = 1;
  check_.start_period = 10s;

  take(9, 1);

  EXPECT_EQ(health_.status, HealthStatus::kStarting);
  EXPECT_EQ(health_.failing_streak, 0);
  EXPECT_EQ(health_.log.size(), 1u);
  EXPECT_TRUE(take(10, 1));
  EXPECT_EQ(health_.status, HealthStatus::kUnhealthy);
}

TEST_F(HealthTest, TheFirstSuccessEndsTheStartPeriod) {
  check_.retries = 1;
  check_.start_period = 10s;
  take(1, 0);

  const bool changed = take(2, 1);

  EXPECT_TRUE(changed);
  EXPECT_EQ(health_.status, HealthStatus::kUnhealthy);
}

TEST_F(HealthTest, KeepsTheLastFiveResults) {
  for (int second = 1; second <= 7; ++second) take(second, 0);

  ASSERT_EQ(health_.log.size(), 5u);
  EXPECT_EQ(health_.log.front().output, "3");
  EXPECT_EQ(health_.log.back().output, "7");
}

TEST_F(HealthTest, ANewStartForgetsTheStreakButNotTheLog) {
  check_.retries = 1;
  take(1, 1);

  start_checks(health_);

  EXPECT_EQ(health_.status, HealthStatus::kStarting);
  EXPECT_EQ(health_.failing_streak, 0);
  EXPECT_EQ(health_.log.size(), 1u);
}

TEST_F(HealthTest, ProbesAtTheStartIntervalUntilTheStartPeriodIsOver) {
  check_.start_period = 60s;
  check_.start_interval = 2s;

  EXPECT_EQ(next_probe_in(health_, check_, 0s), 2s);
  EXPECT_EQ(next_probe_in(health_, check_, 59s), 2s);
  EXPECT_EQ(next_probe_in(health_, check_, 60s), 30s);
}

TEST_F(HealthTest, ProbesAtTheIntervalOnceItWasHealthy) {
  check_.start_period = 60s;
  take(1, 0);

  const auto next = next_probe_in(health_, check_, 2s);

  EXPECT_EQ(next, 30s);
}

TEST(HealthOutput, IsCutAt4096Bytes) {
  HealthOutput output;
  const std::string text(kHealthOutput - 1, 'x');

  output.append(std::as_bytes(std::span(text)));
  const std::string whole = output.text();
  output.append(std::as_bytes(std::span(text)));

  EXPECT_EQ(whole, text);
  EXPECT_EQ(output.text(), text + "x...");
}

TEST(HealthOutput, SaysThatTheTimeWasExceededBeforeWhatTheProbeSaid) {
  EXPECT_EQ(exceeded_timeout(1s, ""), "Health check exceeded timeout (1s)");
  EXPECT_EQ(exceeded_timeout(1500ms, "half"), "Health check exceeded timeout (1.5s): half");
}

TEST(GoDuration, IsPrintedAsGoDoes) {
  EXPECT_EQ(go_duration(0s), "0s");
  EXPECT_EQ(go_duration(15ns), "15ns");
  EXPECT_EQ(go_duration(1500ns), "1.5µs");
  EXPECT_EQ(go_duration(1ms), "1ms");
  EXPECT_EQ(go_duration(1050us), "1.05ms");
  EXPECT_EQ(go_duration(30s), "30s");
  EXPECT_EQ(go_duration(90s), "1m30s");
  EXPECT_EQ(go_duration(1h), "1h0m0s");
  EXPECT_EQ(go_duration(61min + 1ms), "1h1m0.001s");
}

}  // namespace
}  // namespace engine
