#include "api/engine/container.h"

#include <array>
#include <charconv>

namespace engine {

using base::Code;
using base::Error;
using base::Result;
using nlohmann::json;

namespace {

constexpr std::array<Status, 7> kStatuses{Status::kCreated,    Status::kRunning,  Status::kPaused,
                                          Status::kRestarting, Status::kRemoving, Status::kExited,
                                          Status::kDead};

json to_json(const Endpoint& endpoint) {
  return {{"network", endpoint.network},
          {"tap", endpoint.tap},
          {"mac", endpoint.mac},
          {"address", endpoint.address},
          {"prefix_length", endpoint.prefix_length},
          {"gateway", endpoint.gateway},
          {"mtu", endpoint.mtu}};
}

Endpoint endpoint_of(const json& value) {
  return Endpoint{.network = value.at("network"),
                  .tap = value.at("tap"),
                  .mac = value.at("mac"),
                  .address = value.at("address"),
                  .prefix_length = value.at("prefix_length"),
                  .gateway = value.at("gateway"),
                  .mtu = value.at("mtu")};
}

json to_json(const Health& health) {
  json log = json::array();
  for (const HealthResult& result : health.log)
    log.push_back({{"start", result.start},
                   {"end", result.end},
                   {"exit_code", result.exit_code},
                   {"output", result.output}});
  return {{"status", to_string(health.status)},
          {"failing_streak", health.failing_streak},
          {"log", std::move(log)}};
}

Health health_of(const json& value) {
  Health health{
      .status = HealthStatus::kUnhealthy, .failing_streak = value.at("failing_streak"), .log = {}};
  for (const HealthStatus status : {HealthStatus::kStarting, HealthStatus::kHealthy})
    if (value.at("status") == to_string(status)) health.status = status;
  for (const json& result : value.at("log"))
    health.log.push_back({.start = result.at("start"),
                          .end = result.at("end"),
                          .exit_code = result.at("exit_code"),
                          .output = result.at("output")});
  return health;
}

std::string hex_of(const protocol::Secret& secret) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const std::uint8_t byte : secret) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

/// Nothing if it is not as hex_of() makes it.
std::optional<protocol::Secret> secret_of(const std::string& text) {
  protocol::Secret secret{};
  if (text.size() != 2 * secret.size()) return std::nullopt;
  for (std::size_t i = 0; i < secret.size(); ++i) {
    const char* const digits = text.data() + 2 * i;
    const auto [end, error] = std::from_chars(digits, digits + 2, secret[i], 16);
    if (error != std::errc() || end != digits + 2) return std::nullopt;
  }
  return secret;
}

Status status_of(const std::string& word) {
  for (const Status status : kStatuses)
    if (to_string(status) == word) return status;
  return Status::kDead;
}

}  // namespace

std::string_view to_string(Status status) {
  switch (status) {
    case Status::kCreated:
      return "created";
    case Status::kRunning:
      return "running";
    case Status::kPaused:
      return "paused";
    case Status::kRestarting:
      return "restarting";
    case Status::kRemoving:
      return "removing";
    case Status::kExited:
      return "exited";
    case Status::kDead:
      return "dead";
  }
  return "dead";
}

std::string settings_text(const Settings& settings) {
  const json value{{"config", settings.config}, {"host_config", settings.host_config}};
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string to_json_text(const ContainerState& state) {
  json value{{"status", to_string(state.status)},    {"pid", state.pid},
             {"exit_code", state.exit_code},         {"error", state.error},
             {"oom_killed", state.oom_killed},       {"manually_stopped", state.manually_stopped},
             {"restart_count", state.restart_count}, {"started_at", state.started_at},
             {"finished_at", state.finished_at}};
  if (state.paused_to_commit) value["paused_to_commit"] = true;
  if (state.of_build) value["of_build"] = true;
  if (state.machine_secret != protocol::Secret{})
    value["machine_secret"] = hex_of(state.machine_secret);
  if (state.endpoint) value["endpoint"] = to_json(*state.endpoint);
  if (state.health) value["health"] = to_json(*state.health);
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<ContainerState> parse_container_state(std::string_view text) {
  const json value = json::parse(text, nullptr, false);
  try {
    ContainerState state{.status = status_of(value.at("status")),
                         .pid = value.at("pid"),
                         .exit_code = value.at("exit_code"),
                         .error = value.at("error"),
                         .oom_killed = value.at("oom_killed"),
                         .paused_to_commit = value.value("paused_to_commit", false),
                         .of_build = value.value("of_build", false),
                         .manually_stopped = value.at("manually_stopped"),
                         .restart_count = value.at("restart_count"),
                         .started_at = value.at("started_at"),
                         .finished_at = value.at("finished_at"),
                         .endpoint = std::nullopt,
                         .machine_secret = {},
                         .health = std::nullopt};
    if (value.contains("endpoint")) state.endpoint = endpoint_of(value.at("endpoint"));
    if (value.contains("health")) state.health = health_of(value.at("health"));
    if (value.contains("machine_secret")) {
      const auto secret = secret_of(value.at("machine_secret"));
      if (!secret) return Error{Code::kDataLoss, "stored container state: machine_secret"};
      state.machine_secret = *secret;
    }
    return state;
  } catch (const json::exception& error) {
    return Error{Code::kDataLoss, std::string("stored container state: ") + error.what()};
  }
}

}  // namespace engine
