#include "api/engine/networks/connections.h"

#include <algorithm>
#include <set>

#include "api/engine/container/machine_spec.h"
#include "api/networks/subnet6.h"
#include "vmm/base/letters.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;

namespace {

/// Whether the container wants to know the host's address: then it is there to be asked.
bool names_host(const Settings& settings) {
  const auto& hosts = settings.naming.extra_hosts;
  return std::any_of(hosts.begin(), hosts.end(),
                     [](const ExtraHost& host) { return !host.address; });
}

/// An address that is asked for is one of a subnet that was asked for: what is chosen for a network
/// may be another one when it is made again.
Result<void> check_address6(const std::string& address, const Network& network) {
  if (address.empty()) return {};
  const std::optional<NetworkSpec6>& asked = network.request.spec.ipv6;
  const std::string begin = "invalid endpoint settings:\n";
  if (!asked || asked->subnet.empty())
    return Error{Code::kInvalidArgument,
                 begin +
                     "user specified IP address is supported only when connecting to networks "
                     "with user configured subnets"};
  if (Subnet6::parse(asked->subnet)->host(address)) return {};
  return Error{Code::kInvalidArgument,
               begin + "no configured subnet or ip-range contain the IP address " + address};
}

struct Place {
  const EndpointSettings* settings;
  NetworkPtr network;
};

/// By priority, then by name, as Docker orders them; internal networks lead nowhere.
const Place* with_default_route(std::span<const Place> places) {
  const auto before = [](const Place& a, const Place& b) {
    if (a.network->spec.internal != b.network->spec.internal) return b.network->spec.internal;
    if (a.settings->gateway_priority != b.settings->gateway_priority)
      return a.settings->gateway_priority > b.settings->gateway_priority;
    return a.network->name < b.network->name;
  };
  const auto first = std::min_element(places.begin(), places.end(), before);
  return first == places.end() ? nullptr : &*first;
}

}  // namespace

Result<std::vector<EndpointRequest>> endpoint_requests(const Settings& settings,
                                                       const NetworkCatalog& catalog) {
  std::vector<Place> places;
  for (const EndpointSettings& wanted : settings.endpoints) {
    if (wanted.network == "none") continue;
    auto network = catalog.find(wanted.network);
    if (!network) return base::annotate(std::move(network).error(), kNetworkingFailed);
    if (!(*network)->damage.empty())
      return Error{Code::kConflict, std::string(kNetworkingFailed) + ": the network " +
                                        (*network)->name +
                                        " cannot be used: " + (*network)->damage};
    RETURN_IF_ERROR(check_address6(wanted.address6, **network));
    places.push_back({&wanted, *std::move(network)});
  }
  const Place* const route = with_default_route(places);
  std::vector<EndpointRequest> requests;
  for (const Place& place : places)
    requests.push_back({.network = place.network->name,
                        .address = place.settings->address,
                        .mac = place.settings->mac,
                        .reaches_host = names_host(settings),
                        .default_route = &place == route,
                        .address6 = place.settings->address6});
  return requests;
}

std::vector<std::string> dns_names_of(const Container& container,
                                      const EndpointSettings& endpoint) {
  std::vector<std::string> names{container.name};
  names.insert(names.end(), endpoint.aliases.begin(), endpoint.aliases.end());
  names.push_back(container.short_id());
  names.push_back(hostname_of(container));
  std::set<std::string> seen;
  std::erase_if(names, [&](const std::string& name) { return !seen.insert(name).second; });
  return names;
}

NamedContainer named_container(const Container& container, std::span<const Endpoint> endpoints,
                               const NetworkCatalog& catalog) {
  NamedContainer named{
      .id = machine_of(container), .places = {}, .servers = container.settings.naming.dns_servers};
  for (const Endpoint& endpoint : endpoints) {
    NamedPlace place{.network = endpoint.network, .address = endpoint.address, .names = {}};
    const auto network = catalog.find(endpoint.network);
    place.address6 = endpoint.address6;
    place.leads_out = !network || !(*network)->spec.internal;
    for (const EndpointSettings& settings : container.settings.endpoints) {
      const auto its = catalog.find(settings.network);
      if (!its || (*its)->name != endpoint.network || !is_user_defined(endpoint.network)) continue;
      place.names = dns_names_of(container, settings);
      for (const Link& link : settings.links)
        place.links.emplace(base::lower_case(link.alias), link.container);
    }
    named.places.push_back(std::move(place));
  }
  return named;
}

ResolverRequest resolver_request(const Container& container, std::span<const Endpoint> endpoints) {
  const Naming& naming = container.settings.naming;
  return {.servers = naming.dns_servers,
          .search = naming.dns_search,
          .options = naming.dns_options,
          .internal = std::any_of(endpoints.begin(), endpoints.end(),
                                  [](const Endpoint& at) { return is_user_defined(at.network); })};
}

std::vector<PortRequest> port_requests(const Container& container,
                                       std::span<const Endpoint> endpoints,
                                       const NetworkCatalog& catalog) {
  const auto gateway = std::find_if(endpoints.begin(), endpoints.end(), [](const Endpoint& at) {
    return at.default_route && !at.gateway.empty();
  });
  if (gateway == endpoints.end()) return {};
  const auto network = catalog.find(gateway->network);
  const std::string otherwise = network && !(*network)->request.host_address.empty()
                                    ? (*network)->request.host_address
                                    : std::string("0.0.0.0");
  std::vector<PortRequest> requests;
  for (const PortBinding& binding :
       bindings_for(container.settings.ports, container.settings.exposed_ports))
    requests.push_back(
        {.protocol = binding.port.protocol,
         .host_address = binding.host_address.empty() ? otherwise : binding.host_address,
         .first_host_port = binding.first_host_port,
         .last_host_port = binding.last_host_port,
         .address = gateway->address,
         .port = binding.port.port});
  return requests;
}

Error port_error(const Container& container, const PortRequest& port, const Error& why) {
  std::string reason = why.message;
  if (why.code == Code::kAlreadyExists && port.first_host_port == port.last_host_port)
    reason = "Bind for " + port.host_address + ":" + std::to_string(port.first_host_port) +
             " failed: port is already allocated";
  return {Code::kInternal, std::string(kNetworkingFailed) +
                               ": driver failed programming external connectivity on endpoint " +
                               container.name + " (" + container.id + "): " + reason};
}

}  // namespace engine
