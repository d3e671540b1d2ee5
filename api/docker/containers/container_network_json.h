// The JSON shapes of a container's networks and ports, inside those of container_json.h.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "api/engine/container/container.h"
#include "api/engine/networks/network_catalog.h"

namespace docker {

/// NetworkSettings of an inspected container.
nlohmann::json network_settings_json(const engine::Container& container,
                                     const engine::NetworkCatalog& networks);

/// NetworkSettings.Networks: each network that the container is on, or will be when it starts.
nlohmann::json networks_json(const engine::Container& container,
                             const engine::NetworkCatalog& networks);

/// Ports of a row of a list: {"IP":"0.0.0.0","PrivatePort":80,"PublicPort":8080,"Type":"tcp"}.
nlohmann::json ports_json(const engine::Container& container);

}  // namespace docker
