#include "api/docker/containers/container_network_json.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <set>

#include "api/engine/networks/connections.h"
#include "api/engine/state/identifiers.h"

namespace docker {

using engine::Container;
using engine::Endpoint;
using engine::NetworkCatalog;
using engine::PublishedPort;
using nlohmann::json;

namespace {

/// What `endpoint` says of itself, or, if it is null, what is said of a container without a place.
json place_json(const Endpoint* endpoint) {
  json value{{"MacAddress", ""},        {"Gateway", ""},           {"IPAddress", ""},
             {"IPPrefixLen", 0},        {"IPv6Gateway", ""},       {"EndpointID", ""},
             {"GlobalIPv6Address", ""}, {"GlobalIPv6PrefixLen", 0}};
  if (endpoint == nullptr) return value;
  value["MacAddress"] = engine::to_string(endpoint->mac);
  value["Gateway"] = endpoint->gateway;
  value["IPAddress"] = endpoint->address;
  value["IPPrefixLen"] = endpoint->prefix_length;
  value["IPv6Gateway"] = endpoint->gateway6;
  value["GlobalIPv6Address"] = endpoint->address6;
  value["GlobalIPv6PrefixLen"] = endpoint->prefix_length6;
  return value;
}

const Endpoint* find_endpoint(const Container& container, const std::string& network) {
  const auto& endpoints = container.state.machine.endpoints;
  const auto found = std::find_if(endpoints.begin(), endpoints.end(),
                                  [&](const Endpoint& at) { return at.network == network; });
  return found == endpoints.end() ? nullptr : &*found;
}

std::string endpoint_id(const Container& container, const Endpoint& endpoint) {
  return engine::network_id(container.id, endpoint.network + "/" + endpoint.address);
}

/// One entry of Networks; `asked`: every field of a connect request's EndpointConfig.
json endpoint_json(const Container& container, const NetworkCatalog& networks,
                   const engine::EndpointSettings& settings, const json& asked) {
  const auto network = networks.find(settings.network);
  const Endpoint* const endpoint = network ? find_endpoint(container, (*network)->name) : nullptr;
  json value = place_json(endpoint);
  for (const char* field : {"IPAMConfig", "Links", "Aliases", "DriverOpts", "GwPriority"})
    value[field] = asked.at(field);
  if (endpoint == nullptr && settings.mac) value["MacAddress"] = engine::to_string(*settings.mac);
  value["NetworkID"] = "";
  value["DNSNames"] = nullptr;
  if (!network) return value;
  if (endpoint != nullptr) {
    value["NetworkID"] = (*network)->id;
    value["EndpointID"] = endpoint_id(container, *endpoint);
  }
  if (engine::is_user_defined((*network)->name))
    value["DNSNames"] = engine::dns_names_of(container, settings);
  return value;
}

/// As in Docker, who shares a network exposes and publishes nothing.
bool shows_ports(const Container& container) {
  return container.state.running() && container.settings.sharing.network.empty();
}

json published_json(const Container& container) {
  json ports = json::object();
  if (!shows_ports(container)) return ports;
  for (const std::string& port : container.settings.exposed_ports) ports[port] = nullptr;
  for (const PublishedPort& port : container.state.machine.ports)
    ports[to_string(engine::ContainerPort{port.protocol, port.port})].push_back(
        {{"HostIp", port.host_address}, {"HostPort", std::to_string(port.host_port)}});
  return ports;
}

}  // namespace

json networks_json(const Container& container, const NetworkCatalog& networks) {
  json all = json::object();
  for (const engine::EndpointSettings& settings : container.settings.endpoints) {
    const auto network = networks.find(settings.network);
    all[network ? (*network)->name : settings.network] = endpoint_json(
        container, networks, settings, container.settings.document.networks.at(settings.network));
  }
  return all;
}

json network_settings_json(const Container& container, const NetworkCatalog& networks) {
  // The old fields beside Networks speak of the default network alone.
  const Endpoint* const on_bridge = find_endpoint(container, engine::kDefaultNetwork);
  json value = place_json(on_bridge);
  if (on_bridge != nullptr) value["EndpointID"] = endpoint_id(container, *on_bridge);
  value.update({{"Bridge", ""},
                {"SandboxID", container.state.running() ? container.id : ""},
                {"SandboxKey", ""},
                {"Ports", published_json(container)},
                {"HairpinMode", false},
                {"LinkLocalIPv6Address", ""},
                {"LinkLocalIPv6PrefixLen", 0},
                {"SecondaryIPAddresses", nullptr},
                {"SecondaryIPv6Addresses", nullptr},
                {"Networks", networks_json(container, networks)}});
  return value;
}

json ports_json(const Container& container) {
  json ports = json::array();
  if (!shows_ports(container)) return ports;
  const auto& published = container.state.machine.ports;
  std::set<engine::ContainerPort> shown;
  for (const PublishedPort& port : published) shown.insert({port.protocol, port.port});
  for (const std::string& text : container.settings.exposed_ports) {
    const std::size_t slash = std::min(text.find('/'), text.size());
    // An image may have written anything there.
    std::uint16_t number = 0;
    std::from_chars(text.data(), text.data() + slash, number);
    const std::string type = slash < text.size() ? text.substr(slash + 1) : "tcp";
    const auto port = engine::parse_container_port(text);
    if (!port || !shown.contains(*port)) ports.push_back({{"PrivatePort", number}, {"Type", type}});
  }
  for (const PublishedPort& port : published)
    ports.push_back({{"IP", port.host_address},
                     {"PrivatePort", port.port},
                     {"PublicPort", port.host_port},
                     {"Type", to_string(port.protocol)}});
  return ports;
}

}  // namespace docker
