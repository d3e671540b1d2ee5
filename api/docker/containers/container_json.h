// The JSON shapes of containers: GET /containers/{id}/json and the rows of GET /containers/json.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "api/engine/container/container.h"
#include "api/engine/containers/containers.h"
#include "api/engine/networks/network_catalog.h"
#include "api/engine/volumes/volumes.h"

namespace docker {

/// What of the host a container's JSON names.
struct ContainerContext {
  const engine::Volumes& volumes;
  const engine::NetworkCatalog& networks;
  const engine::Containers& containers;
};

/// What containers on the default network call others: "/web/db" by the ID of what is called so.
using LinkNames = std::multimap<std::string, std::string>;
LinkNames link_names(const std::vector<engine::ContainerPtr>& containers);

/// `sizes`: with SizeRw and SizeRootFs.
nlohmann::json inspect_json(const engine::Container& container, ContainerContext context,
                            bool sizes);
/// `links`: of all containers.
nlohmann::json summary_json(const engine::Container& container, ContainerContext context,
                            const LinkNames& links, bool sizes);

/// "none", "starting", "healthy" or "unhealthy".
std::string_view health_word(const engine::ContainerState& state);

/// "Up 5 minutes (healthy)", "Exited (0) 2 hours ago".
std::string status_text(const engine::ContainerState& state, engine::TimeNs now);

/// Docker's rough durations: "About a minute".
std::string human_duration(engine::TimeNs duration);

std::map<std::string, std::string> labels_of(const engine::Container& container);

}  // namespace docker
