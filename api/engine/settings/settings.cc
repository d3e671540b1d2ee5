#include "api/engine/settings/settings.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "api/engine/state/json_fields.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;
using nlohmann::json;

namespace {

Error invalid(std::string message) { return Error{Code::kInvalidArgument, std::move(message)}; }

template <typename T>
Result<void> take(Result<T> parsed, T& into) {
  if (!parsed) return std::move(parsed).error();
  into = *std::move(parsed);
  return {};
}

/// Docker's words and what they stand for. A policy without a name may have any count, as Docker's
/// clients before 25 sent it.
constexpr auto kRestartPolicies = std::to_array<std::pair<std::string_view, RestartPolicy::Kind>>(
    {{"", RestartPolicy::Kind::kNo},
     {"no", RestartPolicy::Kind::kNo},
     {"always", RestartPolicy::Kind::kAlways},
     {"unless-stopped", RestartPolicy::Kind::kUnlessStopped},
     {"on-failure", RestartPolicy::Kind::kOnFailure}});

Result<RestartPolicy> parse_restart_policy(const json& host) {
  const json& policy = host.at("RestartPolicy");
  const auto name = policy.find("Name");
  const auto retries = policy.find("MaximumRetryCount");
  const bool typed = (name == policy.end() || name->is_string()) &&
                     (retries == policy.end() || is_integer(*retries));
  if (!typed) return invalid("invalid JSON: HostConfig.RestartPolicy");
  const std::string word = policy.value("Name", "");
  const std::int64_t count = policy.value("MaximumRetryCount", std::int64_t{0});
  const auto known = std::find_if(kRestartPolicies.begin(), kRestartPolicies.end(),
                                  [&](const auto& item) { return item.first == word; });
  if (known == kRestartPolicies.end())
    return invalid("invalid restart policy: unknown policy '" + word.substr(0, 64) +
                   "'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'");
  if (word == "on-failure" && count < 0)
    return invalid("invalid restart policy: maximum retry count cannot be negative");
  if (!word.empty() && word != "on-failure" && count != 0)
    return invalid(
        std::string(
            "invalid restart policy: maximum retry count can only be used with 'on-failure'") +
        (count < 0 ? " and cannot be negative" : ""));
  if (known->second != RestartPolicy::Kind::kNo && flag_in(host, "AutoRemove"))
    return invalid("can't create 'AutoRemove' container with restart policy");
  return RestartPolicy{.kind = known->second, .maximum_retries = count};
}

/// Fields that have one meaning here, whatever they say.
Result<void> check_words(const json& host) {
  RETURN_IF_ERROR(check_word(host, "CgroupnsMode", {"private"}));
  RETURN_IF_ERROR(check_word(host, "UsernsMode", {"host"}));
  RETURN_IF_ERROR(check_word(host, "Isolation", {"default"}));
  return check_word(host, "Runtime", {"containervm", "runc"});
}

/// Machines have weights, and the machine of one that shares namespaces is another's.
Result<void> check_weights(const Settings& settings) {
  const Limits& limits = settings.limits;
  if (!settings.sharing.joins() || (limits.block_weight == 0 && limits.block_weights.empty()))
    return {};
  return Error{Code::kNotSupported,
               "a block I/O weight is not supported for a container that shares namespaces of "
               "another one: it is in its machine, whose weight is that one's"};
}

std::vector<Sysctl> sysctls_of(const json& host) {
  std::vector<Sysctl> sysctls;
  for (const auto& [name, value] : texts_in(host, "Sysctls"))
    sysctls.push_back({.name = name, .value = value});
  return sysctls;
}

std::set<std::string> names_in(const json& config, const char* field) {
  std::set<std::string> names;
  for (const auto& [name, nothing] : config.at(field).items()) names.insert(name);
  return names;
}

Result<std::vector<EndpointSettings>> parse_endpoints(const json& networks,
                                                      const std::string& mode) {
  std::vector<EndpointSettings> endpoints;
  for (const auto& [network, fields] : networks.items()) {
    auto endpoint = parse_endpoint(network, fields);
    if (!endpoint) return std::move(endpoint).error();
    endpoints.push_back(*std::move(endpoint));
  }
  std::stable_partition(endpoints.begin(), endpoints.end(),
                        [&](const EndpointSettings& at) { return at.network == mode; });
  return endpoints;
}

/// HostConfig.Links of a container on a network that was created are those of its place there.
Result<void> place_links(Settings& settings) {
  const std::vector<Link>& links = settings.naming.links;
  if (links.empty()) return {};
  if (!settings.sharing.network.empty())
    return Error{Code::kInvalidArgument,
                 "conflicting options: container type network can't be used with links. This would "
                 "result in undefined behavior"};
  if (!is_user_defined(settings.naming.network)) return {};
  for (EndpointSettings& endpoint : settings.endpoints)
    if (endpoint.network == settings.naming.network)
      endpoint.links.insert(endpoint.links.end(), links.begin(), links.end());
  return {};
}

/// The one way from a document to what it says.
Result<Settings> read_document(SettingsDocument document) {
  const json& config = document.config;
  const json& host = document.host_config;
  Settings settings;
  settings.image = text_in(config, "Image");
  settings.labels = texts_in(config, "Labels");
  settings.exposed_ports = names_in(config, "ExposedPorts");
  settings.auto_remove = flag_in(host, "AutoRemove");
  settings.sysctls = sysctls_of(host);
  RETURN_IF_ERROR(take(parse_process(config, host), settings.process));
  RETURN_IF_ERROR(take(parse_naming(config, host), settings.naming));
  RETURN_IF_ERROR(take(parse_sharing(host), settings.sharing));
  RETURN_IF_ERROR(
      take(parse_endpoints(document.networks, settings.naming.network), settings.endpoints));
  RETURN_IF_ERROR(place_links(settings));
  RETURN_IF_ERROR(take(parse_ports(host), settings.ports));
  RETURN_IF_ERROR(check_port_count(settings.ports, settings.exposed_ports));
  RETURN_IF_ERROR(take(parse_health(config), settings.health));
  RETURN_IF_ERROR(take(parse_limits(host), settings.limits));
  RETURN_IF_ERROR(check_weights(settings));
  RETURN_IF_ERROR(take(parse_restart_policy(host), settings.restart_policy));
  RETURN_IF_ERROR(take(parse_log_config(host.at("LogConfig")), settings.log));
  RETURN_IF_ERROR(take(parse_security(host), settings.security));
  RETURN_IF_ERROR(take(parse_mounts(config, host), settings.mounts));
  RETURN_IF_ERROR(check_words(host));
  settings.document = std::move(document);
  return settings;
}

Result<Settings> read_stored(std::string_view text) {
  auto document = stored_document(stored_json(text));
  if (!document) return std::move(document).error();
  return read_document(*std::move(document));
}

}  // namespace

Stored<Settings> stored_settings(std::string_view text) {
  auto settings = read_stored(text);
  if (settings) return {*std::move(settings), {}};
  const std::string damage = "settings: " + settings.error().message;
  auto nothing = read_document(default_document());
  return {nothing ? *std::move(nothing) : Settings(), damage};
}

Result<Settings> parse_settings(const json& body) {
  auto document = requested_document(body);
  if (!document) return std::move(document).error();
  auto settings = read_document(*std::move(document));
  if (settings) name_defaults(settings->document);
  return settings;
}

Result<Settings> settings_with_defaults(const Settings& asked,
                                        const images::ContainerDefaults& image,
                                        const std::string& hostname) {
  SettingsDocument document = asked.document;
  RETURN_IF_ERROR(add_defaults(document, image, hostname));
  return read_document(std::move(document));
}

namespace {

/// As with Docker a link on the default network is to a container, whatever it is called later.
Result<void> link_by_id(SettingsDocument& document, const std::vector<Link>& links,
                        const FindId& find) {
  if (links.empty()) return {};
  json named = json::array();
  for (const Link& link : links) {
    const auto id = find(link.container);
    if (!id)
      return Error{Code::kInvalidArgument, "could not get container for " + link.container +
                                               ": No such container: " + link.container};
    named.push_back(*id + ":" + link.alias);
  }
  document.host_config["Links"] = std::move(named);
  return {};
}

}  // namespace

Result<Settings> settings_with_ids(const Settings& old, const FindId& find) {
  SettingsDocument document = old.document;
  RETURN_IF_ERROR(name_by_id(document, find));
  if (!is_user_defined(old.naming.network))
    RETURN_IF_ERROR(link_by_id(document, old.naming.links, find));
  return read_document(std::move(document));
}

Result<Settings> settings_named_as(const Settings& old, const Settings& donor) {
  SettingsDocument document = old.document;
  for (const char* name : {"Hostname", "Domainname"})
    document.config[name] = donor.document.config.at(name);
  return read_document(std::move(document));
}

Result<Settings> updated_settings(const Settings& old, const json& changes) {
  auto document = updated_document(old.document, changes);
  if (!document) return std::move(document).error();
  return read_document(*std::move(document));
}

Result<Settings> connected_settings(const Settings& old, const std::string& network,
                                    const json& endpoint) {
  auto document = connected_document(old.document, network, endpoint);
  if (!document) return std::move(document).error();
  return read_document(*std::move(document));
}

Result<Settings> disconnected_settings(const Settings& old, const std::string& network) {
  return read_document(disconnected_document(old.document, network));
}

void name_image(Settings& settings, std::string image) {
  settings.document.config["Image"] = image;
  settings.image = std::move(image);
}

}  // namespace engine
