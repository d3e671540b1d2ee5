#include "api/engine/attachments/places.h"

#include <algorithm>

#include "api/engine/container/machine_spec.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;

const Endpoint* place_on(const Container& container, const std::string& network) {
  const auto& endpoints = container.state.machine.endpoints;
  const auto found = std::ranges::find(endpoints, network, &Endpoint::network);
  return found == endpoints.end() ? nullptr : &*found;
}

Result<std::uint32_t> unused_card(const Container& container) {
  const auto& endpoints = container.state.machine.endpoints;
  for (std::uint32_t card = 0; card < launch::kMostNetworkCards; ++card)
    if (std::ranges::find(endpoints, card, &Endpoint::card) == endpoints.end()) return card;
  return Error{Code::kConflict,
               "the container is on as many networks as its machine has network cards (" +
                   std::to_string(launch::kMostNetworkCards) + ")"};
}

std::optional<std::uint32_t> route_of(std::span<const Endpoint> endpoints) {
  const auto found = std::ranges::find(endpoints, true, &Endpoint::default_route);
  return found == endpoints.end() ? std::nullopt : std::optional(found->card);
}

std::optional<std::uint32_t> lead_default_route(std::span<Endpoint> endpoints,
                                                std::span<const EndpointRequest> requests) {
  for (Endpoint& endpoint : endpoints) {
    const auto request = std::ranges::find(requests, endpoint.network, &EndpointRequest::network);
    endpoint.default_route = request != requests.end() && request->default_route;
  }
  return route_of(endpoints);
}

bool lead_there(std::span<const PublishedPort> ports, std::span<const PortRequest> wanted) {
  return ports.size() == wanted.size() &&
         std::ranges::all_of(ports, [&](const PublishedPort& port) {
           return std::ranges::any_of(wanted, [&](const PortRequest& request) {
             return request.protocol == port.protocol && request.port == port.port &&
                    request.address == port.address;
           });
         });
}

void keep_host_ports(std::vector<PortRequest>& wanted, std::span<const PublishedPort> had) {
  std::vector<PublishedPort> left(had.begin(), had.end());
  for (PortRequest& request : wanted) {
    const auto same = std::ranges::find_if(left, [&](const PublishedPort& port) {
      return port.protocol == request.protocol && port.port == request.port &&
             port.host_address == request.host_address;
    });
    if (same == left.end()) continue;
    request.first_host_port = request.last_host_port = same->host_port;
    left.erase(same);
  }
}

protocol::UpdateNetworkFiles network_files_of(const Container& container,
                                              std::span<const Endpoint> before) {
  protocol::UpdateNetworkFiles files;
  files.container = container.state.machine.number;
  const auto& now = container.state.machine.endpoints;
  const auto is_in = [](std::span<const Endpoint> endpoints, const Endpoint& one) {
    return std::ranges::find(endpoints, one.address, &Endpoint::address) != endpoints.end();
  };
  const auto add_lines = [&](std::vector<std::string>& to, const Endpoint& endpoint) {
    for (std::string& line : hosts_lines_of(container, endpoint)) to.push_back(std::move(line));
  };
  for (const Endpoint& endpoint : before)
    if (!is_in(now, endpoint)) add_lines(files.removed_hosts, endpoint);
  for (const Endpoint& endpoint : now)
    if (!is_in(before, endpoint)) add_lines(files.added_hosts, endpoint);
  return files;
}

}  // namespace engine
