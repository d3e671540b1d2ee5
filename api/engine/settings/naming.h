// Naming: the names by which a container and others find each other, as a create request says them.
//
// Trust: all of it is the client's. Errors: kInvalidArgument and kNotSupported in Docker's words.
// Threads: any.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "api/engine/settings/networking/link.h"
#include "vmm/base/result.h"

namespace engine {

/// A line of /etc/hosts.
struct ExtraHost {
  std::string name;
  std::optional<std::string> address;  // absent: host-gateway, the network's
};

struct Naming {
  std::string hostname;  // empty in a request: the short ID
  std::string domainname;
  std::vector<ExtraHost> extra_hosts;
  std::vector<Link> links;  // of HostConfig
  /// NetworkMode: "bridge", "none", "container:X", or the name or ID of another network.
  std::string network;
  // Of /etc/resolv.conf; empty: the host's.
  std::vector<std::string> dns_servers;
  std::vector<std::string> dns_search;
  std::vector<std::string> dns_options;
};

/// Reads and checks it. Both have every field of their tables (settings_fields.h), of its type.
base::Result<Naming> parse_naming(const nlohmann::json& config, const nlohmann::json& host_config);

}  // namespace engine
