// What follows from a container's places on networks: pure functions of Attachments.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "api/engine/container/container.h"
#include "api/networks/networks.h"

namespace engine {

/// Null: it is not on the network, or does not run.
const Endpoint* place_on(const Container& container, const std::string& network);

/// The lowest card that its machine does not use. kConflict: none is left.
base::Result<std::uint32_t> unused_card(const Container& container);

/// The card of the place that has the default route; none: it leads nowhere.
std::optional<std::uint32_t> route_of(std::span<const Endpoint> endpoints);

/// Gives the default route to the place for which the requests say so; its card.
std::optional<std::uint32_t> lead_default_route(std::span<Endpoint> endpoints,
                                                std::span<const EndpointRequest> requests);

/// Whether the ports are those that are wanted, at the same endpoint.
bool lead_there(std::span<const PublishedPort> ports, std::span<const PortRequest> wanted);

/// Makes the requests ask for the ports of the host that the container has had.
void keep_host_ports(std::vector<PortRequest>& wanted, std::span<const PublishedPort> had);

/// How its /etc/hosts changes, as its places were `before`.
protocol::UpdateNetworkFiles network_files_of(const Container& container,
                                              std::span<const Endpoint> before);

}  // namespace engine
