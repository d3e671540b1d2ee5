// A volume as Docker's clients see it.
#pragma once

#include <nlohmann/json.hpp>

#include "api/engine/volumes/volumes.h"

namespace docker {

nlohmann::json volume_json(const engine::Volumes& volumes, const engine::Volume& volume);

}  // namespace docker
