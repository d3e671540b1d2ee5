// Identifiers: container IDs, secrets, random names, and which names Docker allows.
#pragma once

#include <string>
#include <string_view>

#include "guest-init/protocol/messages.h"

namespace engine {

/// 64 lower-case hex digits from the kernel's random source, not all of the first 12 decimal.
std::string random_id();

/// A machine's secret, from the kernel's random source.
protocol::Secret random_secret();

/// "brave_otter"; with a digit behind it when `attempt` > 0.
std::string random_name(int attempt);

/// The stable 64-digit ID of a network, or of an endpoint on one, of the host that has `host_id`.
std::string network_id(std::string_view host_id, std::string_view name);

/// [a-zA-Z0-9][a-zA-Z0-9_.-]+
bool is_valid_name(std::string_view name);

}  // namespace engine
