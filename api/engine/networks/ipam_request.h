// The part of a create request that says which addresses a network has: IPAM.
//
// Trust: all of it is the client's. Errors as network_request.h says. Threads: any.
// Spec: Docker Engine API 1.51, IPAM.
#pragma once

#include <nlohmann/json.hpp>

#include "api/engine/networks/network_request.h"
#include "vmm/base/result.h"

namespace engine {

/// At most one subnet of IPv4 and one of IPv6, into `request.spec`, which says whether there is to
/// be IPv6. Where there is not, a subnet of IPv6 is left alone, as by Docker, with a warning.
base::Result<void> parse_ipam(const nlohmann::json& ipam, NetworkRequest& request);

}  // namespace engine
