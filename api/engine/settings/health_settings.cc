#include "api/engine/settings/health_settings.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "api/engine/state/json_fields.h"
#include "vmm/base/letters.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;
using nlohmann::json;
using std::chrono::nanoseconds;

namespace {

constexpr std::array<const char*, 4> kDurations{"Interval", "Timeout", "StartPeriod",
                                                "StartInterval"};
constexpr const char* kRetries = "Retries";
constexpr const char* kTest = "Test";

Error invalid(std::string message) { return Error{Code::kInvalidArgument, std::move(message)}; }

/// Docker's spelling of a field; Go's decoder, and so Docker, takes it without regard to case.
const char* field_named(std::string_view name) {
  const auto same = [&](std::string_view field) { return base::equals_ignoring_case(name, field); };
  for (const char* field : kDurations)
    if (same(field)) return field;
  if (same(kRetries)) return kRetries;
  return same(kTest) ? kTest : nullptr;
}

std::int64_t integer(const json& health, const char* field) {
  const auto found = health.find(field);
  return found != health.end() && is_integer(*found) ? found->get<std::int64_t>() : 0;
}

std::vector<std::string> test_of(const json& health) {
  const auto found = health.find(kTest);
  return found != health.end() && is_strings(*found) ? found->get<std::vector<std::string>>()
                                                     : std::vector<std::string>();
}

/// A duration that was asked for, else `otherwise`; never so long that adding it to a time
/// overflows.
nanoseconds duration(const json& health, const char* field, nanoseconds otherwise) {
  constexpr nanoseconds kLongest = std::chrono::hours(24 * 365 * 100);
  const nanoseconds asked(integer(health, field));
  return asked.count() > 0 ? std::min(asked, kLongest) : otherwise;
}

std::vector<std::string> shell_of(const json& config) {
  const auto found = config.find("Shell");
  if (found != config.end() && is_strings(*found) && !found->empty())
    return found->get<std::vector<std::string>>();
  return {"/bin/sh", "-c"};
}

Result<void> check_values(const json& health) {
  if (health.is_null()) return {};
  constexpr std::int64_t kLeast = 1'000'000;
  for (const char* field : kDurations) {
    const std::int64_t value = integer(health, field);
    if (value != 0 && value < kLeast)
      return invalid(std::string(field) + " in Healthcheck cannot be less than " +
                     go_duration(nanoseconds(kLeast)));
  }
  if (integer(health, kRetries) < 0) return invalid("Retries in Healthcheck cannot be negative");
  // Docker's daemon falls over this one; there is nothing that could be run.
  if (test_of(health) == std::vector<std::string>{"CMD"})
    return invalid("Test in Healthcheck needs a command after CMD");
  return {};
}

std::optional<HealthCheck> check_of(const json& health, const json& config) {
  const std::vector<std::string> test = test_of(health);
  if (test.empty()) return std::nullopt;
  HealthCheck check;
  if (test.front() == "CMD-SHELL") {
    check.command = shell_of(config);
  } else if (test.front() != "CMD") {
    return std::nullopt;
  }
  check.command.insert(check.command.end(), test.begin() + 1, test.end());
  if (check.command.empty()) return std::nullopt;
  check.interval = duration(health, "Interval", check.interval);
  check.timeout = duration(health, "Timeout", check.timeout);
  check.start_period = duration(health, "StartPeriod", check.start_period);
  check.start_interval = duration(health, "StartInterval", check.start_interval);
  if (const std::int64_t retries = integer(health, kRetries); retries > 0) check.retries = retries;
  return check;
}

std::optional<std::string> warning_of(const json& health) {
  const std::vector<std::string> test = test_of(health);
  if (test.empty() || test.front() == "NONE" || test.front() == "CMD" ||
      test.front() == "CMD-SHELL")
    return std::nullopt;
  return "Unknown healthcheck type '" + test.front().substr(0, 64) + "' (expected 'CMD')";
}

}  // namespace

Result<void> normalise_health(json& health) {
  if (health.is_null()) return {};
  json kept = json::object();
  for (const auto& [name, value] : health.items()) {
    if (value.is_null()) continue;
    const char* const field = field_named(name);
    if (field == nullptr)
      return Error{Code::kNotSupported,
                   "the field Healthcheck." + name.substr(0, 64) + " is not supported"};
    const bool is_test = std::string_view(field) == kTest;
    if (is_test ? !is_strings(value) : !is_integer(value))
      return invalid("invalid JSON: Healthcheck." + std::string(field) + " must be " +
                     (is_test ? "an array of strings" : "an integer"));
    if (value != 0 && value != json::array()) kept[field] = value;
  }
  health = std::move(kept);
  return {};
}

void merge_health(json& health, const images::Healthcheck& image) {
  if (health.is_null()) health = json::object();
  const auto give = [&](const char* field, auto value, bool given) {
    if (given && !health.contains(field)) health[field] = std::move(value);
  };
  give(kTest, image.test, !image.test.empty());
  give("Interval", image.interval.count(), image.interval.count() != 0);
  give("Timeout", image.timeout.count(), image.timeout.count() != 0);
  give("StartPeriod", image.start_period.count(), image.start_period.count() != 0);
  give("StartInterval", image.start_interval.count(), image.start_interval.count() != 0);
  give(kRetries, image.retries, image.retries != 0);
}

Result<HealthSettings> parse_health(const json& config) {
  const json& health = config.at("Healthcheck");
  RETURN_IF_ERROR(check_values(health));
  return HealthSettings{.check = check_of(health, config), .warning = warning_of(health)};
}

}  // namespace engine
