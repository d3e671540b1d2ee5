// ContainerNetworks: puts containers on networks, and takes them off.
//
// Threads: the io_context thread. Containers and NetworkCatalog outlive it. Callers await it
// shielded (async/shield.h) from a client that leaves.
// Errors carry Docker's sentences: kNotFound, kInvalidArgument, kConflict, kInternal for a network
// that the container is not on (as Docker answers it), or where the machine of a container that
// runs cannot be given its place.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "api/async/net.h"
#include "api/engine/container/container.h"
#include "api/engine/containers/containers.h"
#include "api/engine/networks/network_catalog.h"

namespace engine {

class ContainerNetworks {
 public:
  ContainerNetworks(Containers& containers, NetworkCatalog& catalog)
      : containers_(containers), catalog_(catalog) {}

  /// `endpoint`: a connect request's EndpointConfig, or null.
  net::awaitable<base::Result<void>> connect(ContainerPtr container, std::string network,
                                             nlohmann::json endpoint);
  net::awaitable<base::Result<void>> disconnect(ContainerPtr container, std::string network);

  /// The network itself goes, once the machines of containers that have ended on it are gone.
  /// kPermissionDenied names the containers that run on it.
  net::awaitable<base::Result<void>> remove(NetworkPtr network);
  /// Containers that run on it.
  std::vector<ContainerPtr> members(const Network& network) const;

 private:
  /// kPermissionDenied while a container runs on it.
  base::Result<void> check_unused(const Network& network) const;

  Containers& containers_;
  NetworkCatalog& catalog_;
};

}  // namespace engine
