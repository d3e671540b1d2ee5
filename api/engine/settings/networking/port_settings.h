// PortSettings: which ports of a container the host publishes, as a create request asks for it.
//
// Trust: all of it is the client's. Errors: kInvalidArgument and kNotSupported in Docker's words.
// Threads: any. Spec: Docker Engine API 1.51, HostConfig.PortBindings, PublishAllPorts.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "api/privileged/privileged_acts.h"
#include "vmm/base/result.h"

namespace engine {

/// Each published one takes a descriptor of the daemon and an element of its rules.
inline constexpr std::size_t kMostPorts = 4096;

/// A port of a container.
struct ContainerPort {
  Protocol protocol = Protocol::kTcp;
  std::uint16_t port = 0;
  friend auto operator<=>(const ContainerPort&, const ContainerPort&) = default;
};

/// "80/tcp"
std::string to_string(const ContainerPort& port);
/// "80", "80/udp". kInvalidArgument: no such port; kNotSupported: sctp.
base::Result<ContainerPort> parse_container_port(const std::string& text);

struct PortBinding {
  ContainerPort port;
  std::string host_address;  // IPv4; empty: what the network says
  // The first free one of these; both 0: any.
  std::uint16_t first_host_port = 0;
  std::uint16_t last_host_port = 0;
};

struct PortSettings {
  std::vector<PortBinding> bindings;
  bool publish_all = false;  // each exposed port, at any port of the host
};

/// `host_config` has every field of its table, of its type.
base::Result<PortSettings> parse_ports(const nlohmann::json& host_config);

/// What is to be published of a container that exposes these ports: the bindings, and with
/// `publish_all` the exposed ports that have none.
std::vector<PortBinding> bindings_for(const PortSettings& ports,
                                      const std::set<std::string>& exposed);

/// kInvalidArgument: more than kMostPorts are exposed, or to be published.
base::Result<void> check_port_count(const PortSettings& ports,
                                    const std::set<std::string>& exposed);

}  // namespace engine
