// EndpointSettings: a container's place on one network, as a create or a connect request asks for
// it.
//
// Trust: all of it is the client's. Errors: kInvalidArgument and kNotSupported in Docker's words.
// Threads: any. Spec: Docker Engine API 1.51, EndpointSettings.
#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "api/engine/settings/networking/link.h"
#include "vmm/base/result.h"

namespace engine {

inline constexpr std::size_t kMostAliases = 128;

struct EndpointSettings {
  std::string network;  // its name or ID, as it was said; whether it is there shows at the start
  std::string address;  // IPv4; empty: any
  std::optional<std::array<std::uint8_t, 6>> mac;
  std::vector<std::string> aliases;   // further names on that network
  std::vector<Link> links;            // what it alone calls others there
  std::int64_t gateway_priority = 0;  // the default route leads by the endpoint with the highest
  std::string address6;  // IPv6, as inet_ntop() writes it; empty: any, if the network has IPv6
};

/// `fields` has every field of endpoint_fields(), of its type. kInvalidArgument: an address that is
/// none, more than kMostAliases, one longer than a name.
base::Result<EndpointSettings> parse_endpoint(const std::string& network,
                                              const nlohmann::json& fields);

/// "02:42:ac:11:00:02", also with '-'. kInvalidArgument if it is not that.
base::Result<std::array<std::uint8_t, 6>> parse_mac(const std::string& text);

/// Whether a network of this name has names, addresses and aliases as its users like: all but those
/// that are there by themselves.
bool is_user_defined(const std::string& network);

}  // namespace engine
