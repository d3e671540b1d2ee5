// commit_config(): what the image that `docker commit` makes runs by default.
//
// Docker's rules: the Dockerfile instructions (`changes`) are applied to what the request's body
// says - or, without a body, to the container's own configuration - and what is missing then comes
// from the container's: a variable, port, volume or label that is not named, a value that is empty.
// Trust: body and changes are the client's. kInvalidArgument with a sentence for what is wrong.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "vmm/base/result.h"

namespace engine {

/// `container`: its Config. `body`: the request's; null for none. The result is the "config" object
/// of an image (OCI image spec, config.md): it has no fields that only containers have.
base::Result<nlohmann::json> commit_config(const nlohmann::json& container,
                                           const nlohmann::json& body,
                                           const std::vector<std::string>& changes);

}  // namespace engine
