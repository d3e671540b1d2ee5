#include "api/engine/settings/settings.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <csignal>
#include <set>

#include "api/engine/settings/health_settings.h"
#include "api/engine/settings/settings_checks.h"
#include "api/engine/settings/settings_fields.h"
#include "vmm/base/letters.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;
using nlohmann::json;

namespace {

const Field* find_field(std::span<const Field> fields, std::string_view name) {
  // Go's decoder, and so Docker, takes names without regard to case.
  const auto found = std::find_if(fields.begin(), fields.end(), [&](const Field& field) {
    return base::equals_ignoring_case(field.name, name);
  });
  return found == fields.end() ? nullptr : &*found;
}

/// null, false, 0, "", [], {}, or containers of nothing else: what an unset field looks like.
bool says_nothing(const json& value) {
  switch (value.type()) {
    case json::value_t::null:
      return true;
    case json::value_t::boolean:
      return !value.get<bool>();
    case json::value_t::number_integer:
    case json::value_t::number_unsigned:
    case json::value_t::number_float:
      return value == 0;
    case json::value_t::string:
      return value.get_ref<const std::string&>().empty();
    case json::value_t::array:
    case json::value_t::object:
      return std::all_of(value.begin(), value.end(), says_nothing);
    default:
      return false;
  }
}

bool is_strings(const json& value) {
  return value.is_array() &&
         std::all_of(value.begin(), value.end(), [](const json& item) { return item.is_string(); });
}

/// A string without NUL: it will become part of an argument, an environment, or a path.
bool has_nul(const json& value) {
  if (value.is_string()) return value.get_ref<const std::string&>().find('\0') != std::string::npos;
  return value.is_structured() && std::any_of(value.begin(), value.end(), has_nul);
}

bool is_integer(const json& value) {
  return value.is_number_integer() &&
         (!value.is_number_unsigned() || value.get<std::uint64_t>() <= INT64_MAX);
}

bool has_type(const json& value, FieldType type) {
  switch (type) {
    case FieldType::kBool:
      return value.is_boolean();
    case FieldType::kInteger:
      return is_integer(value);
    case FieldType::kString:
      return value.is_string();
    case FieldType::kStrings:
      return is_strings(value);
    case FieldType::kCommand:
      return value.is_string() || is_strings(value);
    case FieldType::kStringMap:
      return value.is_object() && std::all_of(value.begin(), value.end(),
                                              [](const json& item) { return item.is_string(); });
    case FieldType::kSet:
    case FieldType::kObject:
      return value.is_object();
    case FieldType::kArray:
      return value.is_array();
  }
  return false;
}

std::string_view name_of(FieldType type) {
  switch (type) {
    case FieldType::kBool:
      return "a boolean";
    case FieldType::kInteger:
      return "an integer";
    case FieldType::kString:
      return "a string";
    case FieldType::kStrings:
      return "an array of strings";
    case FieldType::kCommand:
      return "a string or an array of strings";
    case FieldType::kStringMap:
      return "an object of strings";
    case FieldType::kSet:
    case FieldType::kObject:
      return "an object";
    case FieldType::kArray:
      return "an array";
  }
  return "";
}

Result<void> take_field(const Field& field, const json& value, json& into,
                        const std::string& where) {
  if (value.is_null()) return {};
  const std::string name = where + std::string(field.name);
  if (!has_type(value, field.type))
    return Error{Code::kInvalidArgument,
                 "invalid JSON: " + name + " must be " + std::string(name_of(field.type))};
  if (has_nul(value))
    return Error{Code::kInvalidArgument, "invalid JSON: " + name + " contains a NUL character"};
  const json standard = json::parse(field.default_json);
  const bool asks = value.is_structured() ? !value.empty() : !says_nothing(value);
  if (field.support == Support::kRefused && asks && value != standard)
    return Error{Code::kNotSupported, name + " is not supported: " + std::string(field.note)};
  const bool keeps_default = field.type == FieldType::kString && says_nothing(value);
  if (keeps_default) return {};
  json& target = into[std::string(field.name)];
  target = field.type == FieldType::kCommand && value.is_string() ? json::array({value}) : value;
  return {};
}

json defaults_of(std::span<const Field> fields) {
  json result = json::object();
  for (const Field& field : fields)
    result[std::string(field.name)] = json::parse(field.default_json);
  return result;
}

/// Null if there is none of this name.
const json* find_object(const json& value, const char* name) {
  if (!value.is_object()) return nullptr;
  const auto found = value.find(name);
  return found == value.end() || !found->is_object() ? nullptr : &*found;
}

Result<void> refuse_unknown(const std::string& name, const json& value) {
  if (says_nothing(value)) return {};
  return Error{Code::kNotSupported, "the field " + name.substr(0, 192) + " is not supported"};
}

/// `where`: what stands before the names in an Error: "HostConfig.".
Result<void> take_all(std::span<const Field> fields, const json& body, json& into,
                      const std::string& where) {
  if (body.is_null()) return {};
  if (!body.is_object())
    return Error{
        Code::kInvalidArgument,
        "invalid JSON: " + (where.empty() ? "the request" : where.substr(0, where.size() - 1)) +
            " must be an object"};
  for (const auto& [name, value] : body.items()) {
    const Field* field = find_field(fields, name);
    if (field == nullptr) {
      RETURN_IF_ERROR(refuse_unknown(where + name.substr(0, 64), value));
      continue;
    }
    RETURN_IF_ERROR(take_field(*field, value, into, where));
  }
  return {};
}

std::string real_network(const std::string& name) { return name == "default" ? "bridge" : name; }

/// The one network that an endpoint may be on is the container's own.
Result<void> check_endpoint_network(const std::string& network, const std::string& mode) {
  if (real_network(network) == real_network(mode)) return {};
  const std::string shown = network.substr(0, 128);
  if (real_network(network) != "bridge" && network != "none")
    return Error{Code::kNotFound, "network " + shown + " not found"};
  return Error{Code::kNotSupported, "NetworkingConfig names the network " + shown +
                                        " and NetworkMode another one, " + mode.substr(0, 128) +
                                        ": a container is on one network here"};
}

Result<void> check_endpoints(const json& endpoints, const std::string& mode) {
  if (endpoints.is_null()) return {};
  if (!endpoints.is_object())
    return Error{Code::kInvalidArgument,
                 "invalid JSON: NetworkingConfig.EndpointsConfig must be an object"};
  std::string names;
  for (const auto& [network, endpoint] : endpoints.items())
    names += (names.empty() ? "" : ", ") + network.substr(0, 64);
  // As Docker says it before API 1.44, from which on it takes several.
  if (endpoints.size() > 1)
    return Error{
        Code::kInvalidArgument,
        "Container cannot be created with multiple network endpoints: " + names.substr(0, 512)};
  for (const auto& [network, endpoint] : endpoints.items()) {
    const auto taken =
        take_fields(endpoint_fields(), endpoint,
                    "NetworkingConfig.EndpointsConfig." + network.substr(0, 64) + ".");
    if (!taken) return taken.error();
    RETURN_IF_ERROR(check_endpoint_network(network, mode));
  }
  return {};
}

/// What else than NetworkMode a create request says of networks.
Result<void> check_networking(const json& value, const std::string& mode) {
  if (value.is_null()) return {};
  if (!value.is_object())
    return Error{Code::kInvalidArgument, "invalid JSON: NetworkingConfig must be an object"};
  for (const auto& [name, inner] : value.items()) {
    if (base::equals_ignoring_case(name, "EndpointsConfig")) {
      RETURN_IF_ERROR(check_endpoints(inner, mode));
    } else {
      RETURN_IF_ERROR(refuse_unknown("NetworkingConfig." + name.substr(0, 64), inner));
    }
  }
  return {};
}

/// Names that client libraries put into the body although they belong into the query.
bool is_client_noise(std::string_view name) {
  return name == "name" || name == "platform" || name == "_query" || name == "_body";
}

}  // namespace

const std::string& Settings::text(const char* field) const {
  return config.at(field).get_ref<const std::string&>();
}

bool Settings::flag(const char* field) const { return config.at(field).get<bool>(); }

std::vector<std::string> Settings::strings(const char* field) const {
  const json& value = config.at(field);
  return value.is_null() ? std::vector<std::string>() : value.get<std::vector<std::string>>();
}

std::string Settings::network_mode() const {
  const std::string mode = host_config.at("NetworkMode").get<std::string>();
  if (flag("NetworkDisabled")) return "none";
  return mode == "default" ? "bridge" : mode;
}

int Settings::stop_signal() const {
  const auto number = parse_signal(text("StopSignal"));
  return number ? *number : SIGTERM;
}

std::chrono::seconds Settings::stop_timeout() const {
  // No longer than can be added to a time; below 0 is for ever.
  constexpr std::int64_t kLongest = std::int64_t{10} * 365 * 86400;
  const json& value = config.at("StopTimeout");
  const std::int64_t seconds = value.is_null() ? 10 : value.get<std::int64_t>();
  return std::chrono::seconds(std::clamp<std::int64_t>(seconds, -1, kLongest));
}

RestartPolicy Settings::restart_policy() const {
  const json& value = host_config.at("RestartPolicy");
  const std::string name = value.value("Name", "");
  RestartPolicy policy{.kind = RestartPolicy::Kind::kNo,
                       .maximum_retries = value.value("MaximumRetryCount", std::int64_t{0})};
  if (name == "always") policy.kind = RestartPolicy::Kind::kAlways;
  if (name == "unless-stopped") policy.kind = RestartPolicy::Kind::kUnlessStopped;
  if (name == "on-failure") policy.kind = RestartPolicy::Kind::kOnFailure;
  return policy;
}

std::string Settings::log_driver() const {
  return host_config.at("LogConfig").value("Type", "json-file");
}

bool Settings::logs() const { return log_driver() != "none"; }

std::vector<std::string> Settings::command_line() const {
  std::vector<std::string> all = strings("Entrypoint");
  for (std::string& word : strings("Cmd")) all.push_back(std::move(word));
  return all;
}

Result<json> take_fields(std::span<const Field> fields, const json& body,
                         const std::string& where) {
  json taken = defaults_of(fields);
  RETURN_IF_ERROR(take_all(fields, body, taken, where));
  return taken;
}

namespace {

Result<Settings> read_settings(const json& stored) {
  const json* const parts[]{find_object(stored, "config"), find_object(stored, "host_config")};
  if (parts[0] == nullptr || parts[1] == nullptr)
    return Error{Code::kDataLoss, "config or host_config is missing"};
  auto config = take_fields(config_fields(), *parts[0], "");
  if (!config) return std::move(config).error();
  auto host_config = take_fields(host_config_fields(), *parts[1], "HostConfig.");
  if (!host_config) return std::move(host_config).error();
  Settings settings{.config = *std::move(config), .host_config = *std::move(host_config)};
  RETURN_IF_ERROR(check_settings(settings));
  return settings;
}

}  // namespace

Stored<Settings> stored_settings(std::string_view text) {
  auto settings = read_settings(stored_json(text));
  if (settings) return {*std::move(settings), {}};
  return {
      {.config = defaults_of(config_fields()), .host_config = defaults_of(host_config_fields())},
      "settings: " + settings.error().message};
}

Result<Settings> parse_settings(const json& body) {
  if (!body.is_object())
    return Error{Code::kInvalidArgument, "invalid JSON: the request must be an object"};
  Settings settings{.config = defaults_of(config_fields()),
                    .host_config = defaults_of(host_config_fields())};
  const json* host_config = nullptr;
  const json* networking = nullptr;
  for (const auto& [name, value] : body.items()) {
    if (base::equals_ignoring_case(name, "HostConfig")) {
      host_config = &value;
    } else if (base::equals_ignoring_case(name, "NetworkingConfig")) {
      networking = &value;
    } else if (const Field* field = find_field(config_fields(), name)) {
      RETURN_IF_ERROR(take_field(*field, value, settings.config, ""));
    } else if (const Field* host_field = find_field(host_config_fields(), name)) {
      // Where they stood before there was a HostConfig; clients still send some there.
      RETURN_IF_ERROR(take_field(*host_field, value, settings.host_config, ""));
    } else if (!is_client_noise(name)) {
      RETURN_IF_ERROR(refuse_unknown(name, value));
    }
  }
  if (host_config != nullptr)
    RETURN_IF_ERROR(
        take_all(host_config_fields(), *host_config, settings.host_config, "HostConfig."));
  // As Docker does it since version 26, so that what inspect shows is a network's name.
  if (json& mode = settings.host_config["NetworkMode"]; mode == "" || mode == "default")
    mode = "bridge";
  if (networking != nullptr)
    RETURN_IF_ERROR(
        check_networking(*networking, settings.host_config.at("NetworkMode").get<std::string>()));
  RETURN_IF_ERROR(normalise_health(settings.config["Healthcheck"]));
  RETURN_IF_ERROR(check_settings(settings));
  if (settings.log_driver().empty()) settings.host_config["LogConfig"]["Type"] = "json-file";
  if (json& options = settings.host_config["LogConfig"]["Config"]; options.is_null())
    options = json::object();
  if (settings.host_config["RestartPolicy"].value("Name", "").empty())
    settings.host_config["RestartPolicy"] = {{"Name", "no"}, {"MaximumRetryCount", 0}};
  return settings;
}

namespace {

std::string key_of(const std::string& variable) { return variable.substr(0, variable.find('=')); }

/// The client's variables, then those of the image's that the client does not name. A client's
/// "NAME" without a value stays in the list, as with Docker, and takes the variable away when a
/// process starts (machine_spec).
void merge_env(json& env, const std::vector<std::string>& image) {
  std::set<std::string> taken;
  for (const json& variable : env) taken.insert(key_of(variable.get_ref<const std::string&>()));
  for (const std::string& variable : image)
    if (!taken.contains(key_of(variable))) env.push_back(variable);
}

void default_text(json& field, const std::string& value) {
  if (field.get_ref<const std::string&>().empty()) field = value;
}

void merge_set(json& field, const std::set<std::string>& names) {
  if (names.empty()) return;
  if (field.is_null()) field = json::object();
  for (const std::string& name : names) field.emplace(name, json::object());
}

}  // namespace

namespace {

constexpr auto kUpdatable = std::to_array<std::string_view>(
    {"BlkioWeight", "CpuShares", "Memory", "NanoCpus", "CpuPeriod", "CpuQuota", "CpusetCpus",
     "CpusetMems", "MemoryReservation", "MemorySwap", "PidsLimit", "RestartPolicy"});

bool changes_nothing(const Field& field, const json& value) {
  if (field.name == "PidsLimit") return value.is_null();  // 0 lifts the limit
  if (field.name == "RestartPolicy")
    return !value.is_object() || says_nothing(value.value("Name", json()));
  return says_nothing(value);
}

bool is_set(const json& value) { return !says_nothing(value); }

/// What Docker refuses because an earlier request said otherwise.
Result<void> check_update(const json& before, const json& after) {
  const auto conflict = [](const std::string& text) {
    return Error{Code::kInvalidArgument, "Conflicting options: " + text};
  };
  const auto changed = [&](const char* name) { return before.at(name) != after.at(name); };
  for (const auto& [field, name] :
       {std::pair{"CpuPeriod", "CPU Period"}, std::pair{"CpuQuota", "CPU Quota"}}) {
    if (changed("NanoCpus") && is_set(before.at(field)))
      return conflict("Nano CPUs cannot be updated as " + std::string(name) +
                      " has already been set");
    if (changed(field) && is_set(before.at("NanoCpus")))
      return conflict(std::string(name) + " cannot be updated as NanoCPUs has already been set");
  }
  const auto swap = before.at("MemorySwap").get<std::int64_t>();
  if (changed("Memory") && !changed("MemorySwap") && swap > 0 &&
      after.at("Memory").get<std::int64_t>() > swap)
    return Error{Code::kInvalidArgument,
                 "Memory limit should be smaller than already set memoryswap limit, update the "
                 "memoryswap at the same time"};
  if (changed("RestartPolicy") && before.at("AutoRemove") == true &&
      after.at("RestartPolicy").value("Name", "no") != "no")
    return Error{
        Code::kInvalidArgument,
        "Restart policy cannot be updated because AutoRemove is enabled for the container"};
  return {};
}

}  // namespace

Result<Settings> update_settings(const Settings& old, const json& changes) {
  if (!changes.is_object())
    return Error{Code::kInvalidArgument, "invalid JSON: the request must be an object"};
  Settings settings = old;
  for (const auto& [name, value] : changes.items()) {
    const Field* field = find_field(host_config_fields(), name);
    if (field == nullptr) {
      RETURN_IF_ERROR(refuse_unknown(name, value));
      continue;
    }
    if (changes_nothing(*field, value)) continue;
    if (std::find(kUpdatable.begin(), kUpdatable.end(), field->name) == kUpdatable.end())
      return Error{Code::kInvalidArgument,
                   std::string(field->name) + " cannot be changed by an update"};
    RETURN_IF_ERROR(take_field(*field, value, settings.host_config, ""));
  }
  RETURN_IF_ERROR(check_update(old.host_config, settings.host_config));
  RETURN_IF_ERROR(check_settings(settings));
  return settings;
}

Result<std::uint64_t> Settings::disk_bytes() const {
  const json& options = host_config.at("StorageOpt");
  if (options.is_null() || !options.contains("size")) return std::uint64_t{0};
  return parse_disk_bytes(options.at("size").get_ref<const std::string&>());
}

Result<std::uint64_t> parse_disk_bytes(std::string_view size) {
  const std::string text = base::lower_case(size);
  const Error bad{Code::kInvalidArgument, "invalid size: '" + text.substr(0, 32) + "'"};
  std::uint64_t value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (parsed.ec != std::errc() || value == 0) return bad;
  std::string unit = text.substr(static_cast<std::size_t>(parsed.ptr - text.data()));
  if (unit.ends_with('b')) unit.pop_back();
  if (unit.ends_with('i')) unit.pop_back();
  constexpr std::string_view kUnits = "kmgt";
  const std::size_t power = unit.empty() ? 0 : kUnits.find(unit) + 1;
  if (unit.size() > 1 || (!unit.empty() && power == 0)) return bad;
  constexpr std::uint64_t kMost = std::uint64_t{4} << 40;
  if (value > kMost >> (10 * power)) return bad;
  constexpr std::uint64_t kStep = 1 << 20;
  return ((value << (10 * power)) + kStep - 1) / kStep * kStep;
}

Result<void> apply_image_defaults(Settings& settings, const images::ContainerDefaults& image) {
  json& config = settings.config;
  if (settings.strings("Entrypoint").empty()) {
    if (settings.strings("Cmd").empty() && !image.cmd.empty()) config["Cmd"] = image.cmd;
    if (config["Entrypoint"].is_null() && !image.entrypoint.empty())
      config["Entrypoint"] = image.entrypoint;
  }
  if (settings.strings("Entrypoint") == std::vector<std::string>{""})
    config["Entrypoint"] = nullptr;
  if (settings.command_line().empty()) return Error{Code::kInvalidArgument, "no command specified"};

  merge_env(config["Env"], image.env);
  default_text(config["User"], image.user);
  default_text(config["WorkingDir"], image.working_dir);
  default_text(config["StopSignal"], image.stop_signal);
  if (config["StopTimeout"].is_null() && image.stop_timeout_seconds)
    config["StopTimeout"] = *image.stop_timeout_seconds;
  merge_set(config["ExposedPorts"], image.exposed_ports);
  merge_set(config["Volumes"], image.volumes);
  for (const auto& [key, value] : image.labels) config["Labels"].emplace(key, value);
  if (config["Shell"].is_null() && !image.shell.empty()) config["Shell"] = image.shell;
  if (image.healthcheck) merge_health(config["Healthcheck"], *image.healthcheck);
  return check_settings(settings);
}

}  // namespace engine
