// What a container's settings ask of networks, in the words that Networks takes.
//
// Threads: the io_context thread. Errors are those that a start answers, in Docker's words.
#pragma once

#include <span>
#include <vector>

#include "api/engine/container/container.h"
#include "api/engine/names/name_registry.h"
#include "api/engine/networks/network_catalog.h"
#include "api/networks/networks.h"

namespace engine {

/// What Docker puts before everything that goes wrong with a container's networks.
inline constexpr const char* kNetworkingFailed = "failed to set up container networking";

/// An endpoint on each of the container's networks, in the order of its settings. One of them, that
/// with the highest priority, has the machine's default route. kNotFound: no such network;
/// kConflict: a network that cannot be used; kInvalidArgument: an address of IPv6 that is not of a
/// subnet that the network was asked for with.
base::Result<std::vector<EndpointRequest>> endpoint_requests(const Settings& settings,
                                                             const NetworkCatalog& catalog);

/// What it is called on a network that was created: its name, aliases, short ID, hostname.
std::vector<std::string> dns_names_of(const Container& container, const EndpointSettings& endpoint);

/// What it is called at these endpoints, and by whom names of others are known.
NamedContainer named_container(const Container& container, std::span<const Endpoint> endpoints,
                               const NetworkCatalog& catalog);

/// What its /etc/resolv.conf is to say: on a network that was created names are known.
ResolverRequest resolver_request(const Container& container, std::span<const Endpoint> endpoints);

/// Its ports, which lead to the endpoint with the default route; none without such.
std::vector<PortRequest> port_requests(const Container& container,
                                       std::span<const Endpoint> endpoints,
                                       const NetworkCatalog& catalog);

/// Why a port could not be published, as Docker says it.
base::Error port_error(const Container& container, const PortRequest& port, const base::Error& why);

}  // namespace engine
