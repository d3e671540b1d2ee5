#include "api/engine/settings/sharing.h"

#include <algorithm>

#include "api/engine/state/json_fields.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;
using nlohmann::json;

namespace {

constexpr std::string_view kPrefix = "container:";

Error invalid(std::string message) { return Error{Code::kInvalidArgument, std::move(message)}; }
Error conflicting(const char* what) { return invalid("conflicting options: " + std::string(what)); }

/// What says nothing in a field of an endpoint.
bool is_unset(const json& value) {
  return value.is_null() || value == "" || value == 0 || (value.is_structured() && value.empty());
}

/// A client names the place on the network that is shared, too, and says nothing of it.
Result<void> check_networks(const json& networks, const std::string& mode) {
  for (const auto& [network, endpoint] : networks.items()) {
    if (!is_unset(endpoint.at("MacAddress")))
      return conflicting("mac-address and the network mode");
    const bool unset = std::all_of(endpoint.begin(), endpoint.end(), is_unset);
    if (network != mode || !unset)
      return invalid(
          "container sharing network namespace with another container or host cannot be connected "
          "to any other network");
  }
  return {};
}

Result<void> check_shared_network(const SettingsDocument& document, const std::string& mode) {
  const json& config = document.config;
  const json& host = document.host_config;
  if (!text_in(config, "Hostname").empty()) return conflicting("hostname and the network mode");
  if (!strings_in(host, "Dns").empty()) return conflicting("dns and the network mode");
  if (!strings_in(host, "ExtraHosts").empty())
    return conflicting("custom host-to-IP mapping and the network mode");
  if (!host.at("PortBindings").empty() || flag_in(host, "PublishAllPorts"))
    return conflicting("port publishing and the container type network mode");
  if (!config.at("ExposedPorts").empty())
    return conflicting("port exposing and the container type network mode");
  if (!text_in(config, "MacAddress").empty())
    return conflicting("mac-address and the network mode");
  return check_networks(document.networks, mode);
}

Result<void> check_host_mode(const std::string& field, const std::string& mode,
                             const char* namespaces) {
  if (mode != "host") return {};
  return Error{Code::kNotSupported, "HostConfig." + field +
                                        " \"host\" is not supported: a container is in a machine, "
                                        "which does not have the host's " +
                                        namespaces};
}

Result<std::string> parse_ipc(const std::string& mode) {
  RETURN_IF_ERROR(check_host_mode("IpcMode", mode, "IPC namespace"));
  std::string other(joined_container(mode));
  if (other.empty() && !mode.empty() && mode != "private" && mode != "shareable" && mode != "none")
    return invalid("invalid IPC mode: " + mode.substr(0, 128));
  return other;
}

Result<std::string> parse_pid(const std::string& mode) {
  RETURN_IF_ERROR(check_host_mode("PidMode", mode, "processes"));
  std::string other(joined_container(mode));
  if (other.empty() && !mode.empty()) return invalid("invalid PID mode: " + mode.substr(0, 128));
  return other;
}

}  // namespace

std::string_view joined_container(std::string_view mode) {
  return mode.starts_with(kPrefix) ? mode.substr(kPrefix.size()) : std::string_view();
}

Result<Sharing> parse_sharing(const json& host) {
  const std::string network = text_in(host, "NetworkMode");
  if (network == "container" || network == kPrefix)
    return invalid("Invalid network mode: invalid container format container:<name|id>");
  const std::string ipc = text_in(host, "IpcMode");
  auto ipc_of = parse_ipc(ipc);
  if (!ipc_of) return std::move(ipc_of).error();
  auto pid_of = parse_pid(text_in(host, "PidMode"));
  if (!pid_of) return std::move(pid_of).error();
  return Sharing{.network = std::string(joined_container(network)),
                 .ipc = *std::move(ipc_of),
                 .pid = *std::move(pid_of),
                 .shareable_ipc = ipc == "shareable",
                 .no_memory_files = ipc == "none"};
}

Result<void> check_sharing(const SettingsDocument& document) {
  const auto sharing = parse_sharing(document.host_config);
  if (!sharing) return sharing.error();
  const std::string mode = text_in(document.host_config, "NetworkMode");
  if (!sharing->network.empty()) return check_shared_network(document, mode);
  const bool has_network = mode != "none" && !flag_in(document.config, "NetworkDisabled");
  if (!sharing->joins() || !has_network) return {};
  return Error{Code::kNotSupported,
               "a container that shares the IPC or the PID namespace of another one is in its "
               "machine and cannot have a network of its own: share the network as well "
               "(--network " +
                   std::string(kPrefix) + "X), or have none (--network none)"};
}

Result<void> name_by_id(SettingsDocument& document, const FindId& find) {
  for (const char* field : {"NetworkMode", "IpcMode", "PidMode"}) {
    json& mode = document.host_config[field];
    const std::string named(joined_container(mode.get_ref<const std::string&>()));
    if (named.empty()) continue;
    const auto id = find(named);
    if (id)
      mode = std::string(kPrefix) + *id;
    else if (field != std::string_view("NetworkMode"))
      return invalid("No such container: " + named.substr(0, 256));
  }
  return {};
}

}  // namespace engine
