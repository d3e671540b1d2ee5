// A port of the host that nothing else can take while a descriptor is open.
//
// The socket serves nobody: connections to the port are led elsewhere before they reach it.
// Threads: any.
#pragma once

#include <cstdint>
#include <string>

#include "api/privileged/privileged_acts.h"
#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace engine {

/// `address`: IPv4. kAlreadyExists "address already in use"; kInvalidArgument: the host has no such
/// address.
base::Result<base::UniqueFd> reserve_port(Protocol protocol, const std::string& address,
                                          std::uint16_t port);

}  // namespace engine
