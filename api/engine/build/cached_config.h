// The build cache's question: would this container, made from that image, give what another gave?
// It is asked of the images' "container_config", as Docker does.
#pragma once

#include <nlohmann/json.hpp>

namespace engine::build {

/// An image's configuration with all fields that a container's has, in Docker's form.
nlohmann::json container_config(const nlohmann::json& image_config);

/// Whether two configurations, which others may have written, ask for the same; what only a
/// container has (its host name, its image) does not count.
bool asks_the_same(const nlohmann::json& a, const nlohmann::json& b);

}  // namespace engine::build
