// The tmpfs of a create request: HostConfig.Tmpfs, and those of HostConfig.Mounts.
//
// Trust: the client's. Any thread. Errors: kInvalidArgument in Docker's words, kNotSupported for a
// type of mount that containers cannot have here.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "guest-init/protocol/messages.h"
#include "vmm/base/result.h"

namespace engine {

/// All of them. What else HostConfig.Mounts has is of type volume or bind then. `host_config` has
/// every field of host_config_fields(), of its type.
base::Result<std::vector<protocol::PrepareContainer::Tmpfs>> parse_all_tmpfs(
    const nlohmann::json& host_config);

}  // namespace engine
