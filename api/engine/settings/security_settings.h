// Security: what a container's processes may do in their guest, as a create request says it.
//
// What a seccomp profile says is looked at when the container starts, as in Docker
// (../security/seccomp_filters.h). Trust: all of it is the client's. Errors: kInvalidArgument and
// kNotSupported in Docker's words. Threads: any.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "api/engine/security/capabilities.h"
#include "vmm/base/result.h"

namespace engine {

struct Security {
  bool privileged = false;
  std::uint64_t capabilities = kDefaultCapabilities;  // bit n = CAP_n: the bounding set
  /// The profile's text; empty: the default one, absent: no filter (unconfined, or privileged).
  std::optional<std::string> seccomp_profile = std::string();
  bool no_new_privileges = false;
  std::vector<std::string> masked_paths;  // see fill_in_default_paths()
  std::vector<std::string> read_only_paths;
};

/// Reads and checks it. `host_config` has every field of host_config_fields(), of its type.
base::Result<Security> parse_security(const nlohmann::json& host_config);

/// MaskedPaths and ReadonlyPaths become Docker's lists, unless the client gave its own or is
/// privileged.
void fill_in_default_paths(nlohmann::json& host_config);

}  // namespace engine
