#include "api/engine/settings/settings_document.h"

#include <algorithm>
#include <array>
#include <set>

#include "api/engine/settings/health_settings.h"
#include "api/engine/settings/security_settings.h"
#include "api/engine/settings/sharing.h"
#include "api/engine/state/json_fields.h"
#include "vmm/base/letters.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;
using nlohmann::json;

namespace {

/// As many network cards as a machine has room for.
constexpr std::size_t kMostNetworks = 8;

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

/// A string without NUL: it will become part of an argument, an environment, or a path.
bool has_nul(const json& value) {
  if (value.is_string()) return value.get_ref<const std::string&>().find('\0') != std::string::npos;
  return value.is_structured() && std::any_of(value.begin(), value.end(), has_nul);
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

Result<json> take_endpoint(const std::string& network, const json& endpoint,
                           const std::string& where) {
  return take_fields(endpoint_fields(), endpoint, where + network.substr(0, 64) + ".");
}

Result<json> take_endpoints(const json& endpoints, const std::string& where) {
  json networks = json::object();
  if (endpoints.is_null()) return networks;
  if (!endpoints.is_object())
    return Error{Code::kInvalidArgument, "invalid JSON: " + where + " must be an object"};
  if (endpoints.size() > kMostNetworks)
    return Error{Code::kInvalidArgument,
                 "a container is on at most " + std::to_string(kMostNetworks) + " networks here"};
  for (const auto& [network, endpoint] : endpoints.items()) {
    auto taken = take_endpoint(network, endpoint, where + ".");
    if (!taken) return std::move(taken).error();
    networks[real_network(network)] = *std::move(taken);
  }
  return networks;
}

/// What else than NetworkMode a create request says of networks.
Result<json> requested_networks(const json& value) {
  if (value.is_null()) return json::object();
  if (!value.is_object())
    return Error{Code::kInvalidArgument, "invalid JSON: NetworkingConfig must be an object"};
  json networks = json::object();
  for (const auto& [name, inner] : value.items()) {
    if (base::equals_ignoring_case(name, "EndpointsConfig")) {
      auto taken = take_endpoints(inner, "NetworkingConfig.EndpointsConfig");
      if (!taken) return taken;
      networks = *std::move(taken);
    } else {
      RETURN_IF_ERROR(refuse_unknown("NetworkingConfig." + name.substr(0, 64), inner));
    }
  }
  return networks;
}

/// A document always has NetworkMode's network, unless it names others, or that is a container's:
/// then it has none.
Result<void> complete_networks(SettingsDocument& document) {
  const std::string mode = real_network(text_in(document.host_config, "NetworkMode"));
  if (!joined_container(mode).empty()) {
    document.networks = json::object();
    return {};
  }
  if (document.networks.empty()) document.networks[mode] = defaults_of(endpoint_fields());
  const std::string mac = text_in(document.config, "MacAddress");
  const auto main = document.networks.find(mode);
  if (mac.empty() || main == document.networks.end()) return {};
  json& own = (*main)["MacAddress"];
  if (own != "" && own != mac)
    return Error{Code::kInvalidArgument,
                 "the container-wide MAC address must match the endpoint-specific MAC address for "
                 "the main network, or be left empty"};
  own = mac;
  return {};
}

/// Names that client libraries put into the body although they belong into the query.
bool is_client_noise(std::string_view name) {
  return name == "name" || name == "platform" || name == "_query" || name == "_body";
}

Error not_an_object() {
  return Error{Code::kInvalidArgument, "invalid JSON: the request must be an object"};
}

/// The image's command is a default where the client gives neither a command nor an entry point.
Result<void> merge_command(json& config, const images::ContainerDefaults& image) {
  if (strings_in(config, "Entrypoint").empty()) {
    if (strings_in(config, "Cmd").empty() && !image.cmd.empty()) config["Cmd"] = image.cmd;
    if (config["Entrypoint"].is_null() && !image.entrypoint.empty())
      config["Entrypoint"] = image.entrypoint;
  }
  if (strings_in(config, "Entrypoint") == std::vector<std::string>{""})
    config["Entrypoint"] = nullptr;
  if (strings_in(config, "Entrypoint").empty() && strings_in(config, "Cmd").empty())
    return Error{Code::kInvalidArgument, "no command specified"};
  return {};
}

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

Result<json> take_fields(std::span<const Field> fields, const json& body,
                         const std::string& where) {
  json taken = defaults_of(fields);
  RETURN_IF_ERROR(take_all(fields, body, taken, where));
  return taken;
}

SettingsDocument default_document() {
  return {.config = defaults_of(config_fields()),
          .host_config = defaults_of(host_config_fields()),
          .networks = json::object()};
}

Result<SettingsDocument> requested_document(const json& body) {
  if (!body.is_object()) return not_an_object();
  SettingsDocument document = default_document();
  const json* host_config = nullptr;
  const json* networking = nullptr;
  for (const auto& [name, value] : body.items()) {
    if (base::equals_ignoring_case(name, "HostConfig")) {
      host_config = &value;
    } else if (base::equals_ignoring_case(name, "NetworkingConfig")) {
      networking = &value;
    } else if (const Field* field = find_field(config_fields(), name)) {
      RETURN_IF_ERROR(take_field(*field, value, document.config, ""));
    } else if (const Field* host_field = find_field(host_config_fields(), name)) {
      // In versions of the API without HostConfig its fields were here; clients still send some so.
      RETURN_IF_ERROR(take_field(*host_field, value, document.host_config, ""));
    } else if (!is_client_noise(name)) {
      RETURN_IF_ERROR(refuse_unknown(name, value));
    }
  }
  if (host_config != nullptr)
    RETURN_IF_ERROR(
        take_all(host_config_fields(), *host_config, document.host_config, "HostConfig."));
  // As Docker does it since version 26, so that what inspect shows is a network's name.
  if (json& mode = document.host_config["NetworkMode"]; mode == "" || mode == "default")
    mode = "bridge";
  if (networking != nullptr) {
    auto networks = requested_networks(*networking);
    if (!networks) return std::move(networks).error();
    document.networks = *std::move(networks);
  }
  RETURN_IF_ERROR(check_sharing(document));
  RETURN_IF_ERROR(complete_networks(document));
  RETURN_IF_ERROR(normalise_health(document.config["Healthcheck"]));
  return document;
}

Result<SettingsDocument> stored_document(const json& stored) {
  const json* const config = find_object(stored, "config");
  const json* const host_config = find_object(stored, "host_config");
  if (config == nullptr || host_config == nullptr)
    return Error{Code::kDataLoss, "config or host_config is missing"};
  SettingsDocument document = default_document();
  RETURN_IF_ERROR(take_all(config_fields(), *config, document.config, ""));
  RETURN_IF_ERROR(
      take_all(host_config_fields(), *host_config, document.host_config, "HostConfig."));
  if (const json* const networks = find_object(stored, "networks")) {
    auto taken = take_endpoints(*networks, "networks");
    if (!taken) return std::move(taken).error();
    document.networks = *std::move(taken);
  } else {
    RETURN_IF_ERROR(complete_networks(document));
  }
  return document;
}

Result<SettingsDocument> updated_document(const SettingsDocument& old, const json& changes) {
  if (!changes.is_object()) return not_an_object();
  SettingsDocument document = old;
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
    RETURN_IF_ERROR(take_field(*field, value, document.host_config, ""));
  }
  RETURN_IF_ERROR(check_update(old.host_config, document.host_config));
  return document;
}

Result<SettingsDocument> connected_document(const SettingsDocument& old, const std::string& network,
                                            const json& endpoint) {
  auto taken = take_endpoint(network, endpoint, "EndpointConfig of ");
  if (!taken) return std::move(taken).error();
  SettingsDocument document = old;
  document.networks[network] = *std::move(taken);
  if (document.networks.size() > kMostNetworks)
    return Error{Code::kInvalidArgument,
                 "a container is on at most " + std::to_string(kMostNetworks) + " networks here"};
  return document;
}

SettingsDocument disconnected_document(const SettingsDocument& old, const std::string& network) {
  SettingsDocument document = old;
  document.networks.erase(network);
  return document;
}

Result<void> add_defaults(SettingsDocument& document, const images::ContainerDefaults& image,
                          const std::string& hostname) {
  json& config = document.config;
  RETURN_IF_ERROR(merge_command(config, image));
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
  default_text(config["Hostname"], hostname);
  fill_in_default_paths(document.host_config);
  return {};
}

void name_defaults(SettingsDocument& document) {
  json& log = document.host_config["LogConfig"];
  if (log.value("Type", "json-file").empty()) log["Type"] = "json-file";
  if (log["Config"].is_null()) log["Config"] = json::object();
  json& restart_policy = document.host_config["RestartPolicy"];
  if (restart_policy.value("Name", "").empty())
    restart_policy = {{"Name", "no"}, {"MaximumRetryCount", 0}};
}

}  // namespace engine
