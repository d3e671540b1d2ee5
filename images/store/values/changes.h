// Changes: the Dockerfile instructions that `docker import -c` and `docker commit -c` apply to an
// image's defaults: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER,
// VOLUME, WORKDIR. Variables of the configuration's Env are replaced where a Dockerfile replaces
// them.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "vmm/base/result.h"

namespace images {

/// `config` is the "config" object of an image configuration; the result is a changed copy.
/// kInvalidArgument for an instruction that is not one of the above or cannot be parsed.
base::Result<nlohmann::json> apply_changes(nlohmann::json config,
                                           const std::vector<std::string>& changes);

}  // namespace images
