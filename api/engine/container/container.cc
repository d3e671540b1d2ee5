#include "api/engine/container/container.h"

#include <arpa/inet.h>
#include <net/if.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "api/engine/state/stored_fields.h"

namespace engine {

using nlohmann::json;

namespace {

constexpr std::array<Status, 7> kStatuses{Status::kCreated,    Status::kRunning,  Status::kPaused,
                                          Status::kRestarting, Status::kRemoving, Status::kExited,
                                          Status::kDead};

constexpr std::size_t kLongestMachineId = 64;

constexpr std::array<HealthStatus, 3> kHealthStatuses{
    HealthStatus::kStarting, HealthStatus::kHealthy, HealthStatus::kUnhealthy};

/// Room for what a daemon adds to a counter that it finds.
constexpr std::int64_t kMostCounted = INT64_MAX / 2;

json to_json(const Endpoint& endpoint) {
  return {{"network", endpoint.network},
          {"tap", endpoint.tap},
          {"mac", endpoint.mac},
          {"address", endpoint.address},
          {"prefix_length", endpoint.prefix_length},
          {"gateway", endpoint.gateway},
          {"mtu", endpoint.mtu},
          {"reaches_host", endpoint.reaches_host},
          {"default_route", endpoint.default_route},
          {"card", endpoint.card},
          {"address6", endpoint.address6},
          {"prefix_length6", endpoint.prefix_length6},
          {"gateway6", endpoint.gateway6}};
}

json to_json(const PublishedPort& port) {
  return {{"protocol", to_string(port.protocol)},
          {"host_address", port.host_address},
          {"host_port", port.host_port},
          {"address", port.address},
          {"port", port.port}};
}

bool is_address(const std::string& text) {
  in_addr address{};
  return ::inet_pton(AF_INET, text.c_str(), &address) == 1;
}

bool is_address6(const std::string& text) {
  in6_addr address{};
  return ::inet_pton(AF_INET6, text.c_str(), &address) == 1;
}

/// What rows of older daemons are without.
void read_address6(StoredFields& fields, Endpoint& endpoint) {
  fields.read("address6", endpoint.address6);
  fields.read<std::uint8_t>("prefix_length6", endpoint.prefix_length6, 0, 128);
  fields.read("gateway6", endpoint.gateway6);
  if (!endpoint.address6.empty() && !is_address6(endpoint.address6))
    fields.complain("address6", "is not an IPv6 address");
  if (!endpoint.gateway6.empty() && !is_address6(endpoint.gateway6))
    fields.complain("gateway6", "is not an IPv6 address");
}

Stored<Endpoint> stored_endpoint(const json& value, const std::string& where) {
  Endpoint endpoint;
  StoredFields fields(value, where);
  fields.need({"network", "tap", "mac", "address", "prefix_length", "gateway"});
  fields.read("network", endpoint.network);
  fields.read("tap", endpoint.tap);
  fields.read("address", endpoint.address);
  fields.read<std::uint8_t>("prefix_length", endpoint.prefix_length, 0, 32);
  fields.read("gateway", endpoint.gateway);
  fields.read("mtu", endpoint.mtu);
  fields.read("reaches_host", endpoint.reaches_host);
  fields.read("default_route", endpoint.default_route);
  fields.read("card", endpoint.card);
  if (endpoint.tap.empty() || endpoint.tap.size() >= IF_NAMESIZE)
    fields.complain("tap", "is not a name of an interface");
  if (!is_address(endpoint.address)) fields.complain("address", "is not an IPv4 address");
  if (!endpoint.gateway.empty() && !is_address(endpoint.gateway))
    fields.complain("gateway", "is not an IPv4 address");
  read_address6(fields, endpoint);
  const json* const mac = fields.find("mac");
  if (mac == nullptr) return {endpoint, fields.damage()};
  std::size_t at = 0;
  const auto read_byte = [&](const json& byte, const std::string& at_byte) -> std::string {
    if (at == endpoint.mac.size() || !byte.is_number_unsigned() || byte > 255)
      return at_byte + " is not a byte of a MAC address";
    endpoint.mac[at++] = byte.get<std::uint8_t>();
    return {};
  };
  fields.take_damage(read_each(*mac, where + ".mac", read_byte));
  if (at != endpoint.mac.size()) fields.complain("mac", "is not a MAC address");
  return {endpoint, fields.damage()};
}

Stored<PublishedPort> stored_port(const json& value, const std::string& where) {
  PublishedPort port;
  StoredFields fields(value, where);
  std::string protocol;
  fields.need({"protocol", "host_address", "host_port", "address", "port"});
  fields.read("protocol", protocol);
  fields.read("host_address", port.host_address);
  fields.read<std::uint16_t>("host_port", port.host_port, 1);
  fields.read("address", port.address);
  fields.read<std::uint16_t>("port", port.port, 1);
  if (protocol != to_string(Protocol::kTcp) && protocol != to_string(Protocol::kUdp))
    fields.complain("protocol", "is neither tcp nor udp");
  if (protocol == to_string(Protocol::kUdp)) port.protocol = Protocol::kUdp;
  if (!is_address(port.host_address)) fields.complain("host_address", "is not an IPv4 address");
  if (!is_address(port.address)) fields.complain("address", "is not an IPv4 address");
  return {port, fields.damage()};
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

Stored<HealthResult> stored_result(const json& value, const std::string& where) {
  HealthResult result;
  StoredFields fields(value, where);
  fields.read<TimeNs>("start", result.start, 0);
  fields.read<TimeNs>("end", result.end, 0);
  fields.read("exit_code", result.exit_code);
  fields.read("output", result.output);
  return {std::move(result), fields.damage()};
}

Stored<Health> stored_health(const json& value) {
  Health health;
  StoredFields fields(value, "state.health");
  std::string status;
  fields.need({"status"});
  fields.read("status", status);
  const auto known = std::find_if(kHealthStatuses.begin(), kHealthStatuses.end(),
                                  [&](HealthStatus s) { return to_string(s) == status; });
  if (known == kHealthStatuses.end()) {
    fields.complain("status", "is no health that this daemon knows");
  } else {
    health.status = *known;
  }
  fields.read<std::int64_t>("failing_streak", health.failing_streak, 0, kMostCounted);
  const json* const log = fields.find("log");
  if (log == nullptr) return {std::move(health), fields.damage()};
  fields.take_damage(
      read_each(*log, "state.health.log", [&](const json& entry, const std::string& where) {
        Stored<HealthResult> result = stored_result(entry, where);
        health.log.push_back(std::move(result.value));
        return std::move(result.damage);
      }));
  return {std::move(health), fields.damage()};
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

std::optional<Status> status_of(const std::string& word) {
  for (const Status status : kStatuses)
    if (to_string(status) == word) return status;
  return std::nullopt;
}

bool is_machine_id(const std::string& id) {
  return id.size() <= kLongestMachineId && std::all_of(id.begin(), id.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
         });
}

void read_place(StoredFields& fields, MachineRecord& machine) {
  fields.read("machine", machine.id);
  if (!is_machine_id(machine.id)) fields.complain("machine", "is no ID of a machine");
  fields.read<ContainerNumber>("machine_number", machine.number, 1, kMostContainers);
  fields.read<ProcessId>("machine_process", machine.process, 1, kFirstFilesProcess - 1);
  fields.read<std::uint32_t>("machine_cpus", machine.shape.vcpus);
  fields.read<std::uint64_t>("machine_memory", machine.shape.memory_bytes);
}

/// What is there of a run only while, or after, there was one.
void read_run(StoredFields& fields, ContainerState& state) {
  const auto read_endpoint = [&](const json& endpoint, const std::string& where) {
    Stored<Endpoint> stored = stored_endpoint(endpoint, where);
    state.machine.endpoints.push_back(std::move(stored.value));
    return std::move(stored.damage);
  };
  if (const json* const endpoints = fields.find("endpoints"))
    fields.take_damage(read_each(*endpoints, "state.endpoints", read_endpoint));
  const auto read_port = [&](const json& port, const std::string& where) {
    Stored<PublishedPort> stored = stored_port(port, where);
    state.machine.ports.push_back(std::move(stored.value));
    return std::move(stored.damage);
  };
  if (const json* const ports = fields.find("ports"))
    fields.take_damage(read_each(*ports, "state.ports", read_port));
  if (const json* const health = fields.find("health")) {
    Stored<Health> stored = stored_health(*health);
    state.health = std::move(stored.value);
    fields.take_damage(std::move(stored.damage));
  }
  read_place(fields, state.machine);
  if (fields.find("machine_secret") == nullptr) return;
  std::string text;
  fields.read("machine_secret", text);
  const auto secret = secret_of(text);
  if (!secret) return fields.complain("machine_secret", "is not a secret");
  state.machine.secret = *secret;
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
  const json value{{"config", settings.document.config},
                   {"host_config", settings.document.host_config},
                   {"networks", settings.document.networks}};
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string to_json_text(const ContainerState& state) {
  json value{{"status", to_string(state.status)},    {"pid", state.machine.pid},
             {"exit_code", state.exit_code},         {"error", state.error},
             {"oom_killed", state.oom_killed},       {"manually_stopped", state.manually_stopped},
             {"restart_count", state.restart_count}, {"started_at", state.started_at},
             {"finished_at", state.finished_at}};
  if (state.paused_to_commit) value["paused_to_commit"] = true;
  if (state.of_build) value["of_build"] = true;
  if (state.machine.secret != protocol::Secret{})
    value["machine_secret"] = hex_of(state.machine.secret);
  if (!state.machine.id.empty()) {
    value["machine"] = state.machine.id;
    value["machine_number"] = state.machine.number;
    value["machine_process"] = state.machine.process;
    value["machine_cpus"] = state.machine.shape.vcpus;
    value["machine_memory"] = state.machine.shape.memory_bytes;
  }
  for (const Endpoint& endpoint : state.machine.endpoints)
    value["endpoints"].push_back(to_json(endpoint));
  for (const PublishedPort& port : state.machine.ports) value["ports"].push_back(to_json(port));
  if (state.health) value["health"] = to_json(*state.health);
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

const std::string& machine_of(const Container& container) {
  const std::string& id = container.state.machine.id;
  return id.empty() ? container.id : id;
}

bool has_machine_alone(const Container& container) {
  if (!container.run.machine) return true;
  const std::vector<ContainerNumber> numbers = container.run.machine->containers();
  return std::all_of(numbers.begin(), numbers.end(), [&](ContainerNumber number) {
    return number == container.state.machine.number;
  });
}

void expect_run(Container& container, const net::any_io_executor& executor) {
  const Process::Shape shape{.tty = container.settings.process.tty,
                             .open_stdin = container.settings.process.open_stdin};
  container.run.process = std::make_shared<Process>(executor, kMainProcess, shape);
}

Stored<ContainerState> stored_state(std::string_view text) {
  const json value = stored_json(text);
  ContainerState state;
  StoredFields fields(value, "state");
  std::string status;
  fields.need({"status"});
  fields.read("status", status);
  const auto known = status_of(status);
  if (!known) fields.complain("status", "is no status that this daemon knows");
  state.status = known.value_or(Status::kDead);
  fields.read<std::int64_t>("pid", state.machine.pid, 0);
  fields.read("exit_code", state.exit_code);
  fields.read("error", state.error);
  fields.read("oom_killed", state.oom_killed);
  fields.read("paused_to_commit", state.paused_to_commit);
  fields.read("of_build", state.of_build);
  fields.read("manually_stopped", state.manually_stopped);
  fields.read<std::int64_t>("restart_count", state.restart_count, 0, kMostCounted);
  fields.read<TimeNs>("started_at", state.started_at, 0);
  fields.read<TimeNs>("finished_at", state.finished_at, 0);
  read_run(fields, state);
  return {std::move(state), fields.damage()};
}

}  // namespace engine
