#include "api/engine/networks/network_request.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "api/engine/networks/ipam_request.h"
#include "api/engine/settings/settings_document.h"
#include "api/engine/settings/settings_fields.h"
#include "api/engine/state/json_fields.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;
using nlohmann::json;

namespace {

constexpr std::size_t kLongestName = 255;
constexpr std::size_t kLongestInterfaceName = 15;
constexpr std::uint32_t kLeastMtu = 68;
constexpr std::uint32_t kMostMtu = 65535;

Error invalid(std::string message) { return Error{Code::kInvalidArgument, std::move(message)}; }

Result<void> check_name(const std::string& name) {
  if (name.find_first_not_of(" \t\r\n") == std::string::npos)
    return invalid("invalid name: name is empty");
  if (is_predefined_network(name))
    return Error{Code::kPermissionDenied,
                 "operation is not permitted on predefined " + name + " network"};
  const bool plain = std::all_of(name.begin(), name.end(), [](char c) {
    return static_cast<unsigned char>(c) > ' ' && c != '/' && c != '\x7f';
  });
  if (!plain || name.size() > kLongestName)
    return invalid(
        "invalid name: a network's name has at most 255 characters, and no blanks, "
        "slashes or control characters");
  return {};
}

Result<void> check_driver(const std::string& driver) {
  if (driver.empty() || driver == "bridge") return {};
  if (driver == "overlay")
    return Error{Code::kPermissionDenied,
                 "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm "
                 "join\" to connect this node to swarm and try again."};
  if (driver == "host" || driver == "null")
    return Error{Code::kPermissionDenied,
                 "only one instance of \"" + driver + "\" network is allowed"};
  return Error{Code::kNotFound, "plugin \"" + driver.substr(0, 128) + "\" not found"};
}

// --- options ----------------------------------------------------------------------------------

Result<bool> parse_flag(const std::string& name, const std::string& value) {
  // What Go's ParseBool takes.
  const std::set<std::string> yes{"1", "t", "T", "true", "TRUE", "True"};
  const std::set<std::string> no{"0", "f", "F", "false", "FALSE", "False"};
  if (yes.contains(value)) return true;
  if (no.contains(value)) return false;
  return invalid("driver-opt \"" + name + "\" is not a valid bool");
}

Result<void> parse_option(const std::string& name, const std::string& value,
                          NetworkRequest& request) {
  NetworkSpec& spec = request.spec;
  const auto flag = [&](bool& into) -> Result<void> {
    const auto parsed = parse_flag(name, value);
    if (!parsed) return parsed.error();
    into = *parsed;
    return {};
  };
  if (name == "com.docker.network.bridge.enable_icc") return flag(spec.connects);
  if (name == "com.docker.network.bridge.enable_ip_masquerade") return flag(spec.masquerade);
  if (name == "com.docker.network.bridge.name") {
    if (value.empty() || value.size() > kLongestInterfaceName || value == "." || value == ".." ||
        value.find_first_of("/ \t\r\n:") != std::string::npos)
      return invalid("invalid bridge name \"" + value.substr(0, 64) + "\"");
    spec.bridge = value;
    return {};
  }
  if (name == "com.docker.network.bridge.host_binding_ipv4") {
    in_addr raw{};
    if (::inet_pton(AF_INET, value.c_str(), &raw) != 1)
      return invalid("invalid address \"" + value.substr(0, 64) + "\" of the option " + name);
    request.host_address = value;
    return {};
  }
  if (name == "com.docker.network.driver.mtu" || name == "mtu") {
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), spec.mtu);
    if (error != std::errc() || end != value.data() + value.size() || spec.mtu > kMostMtu ||
        (spec.mtu < kLeastMtu && spec.mtu != 0))
      return invalid("invalid value \"" + value.substr(0, 64) + "\" of the option " + name);
    if (spec.mtu == 0) spec.mtu = NetworkSpec().mtu;
    return {};
  }
  return Error{Code::kNotSupported,
               "the network option \"" + name.substr(0, 128) + "\" is not supported"};
}

}  // namespace

bool is_predefined_network(std::string_view name) {
  return name == "bridge" || name == "host" || name == "none" || name == "default";
}

Result<NetworkRequest> parse_network_request(const json& body) {
  if (!body.is_object()) return invalid("invalid JSON: the request must be an object");
  auto document = take_fields(network_fields(), body, "");
  if (!document) return std::move(document).error();
  NetworkRequest request{.document = *std::move(document),
                         .labels = {},
                         .options = {},
                         .host_address = {},
                         .spec = {},
                         .warning = {}};
  const json& fields = request.document;
  request.spec.name = text_in(fields, "Name");
  RETURN_IF_ERROR(check_name(request.spec.name));
  RETURN_IF_ERROR(check_driver(text_in(fields, "Driver")));
  if (const std::string scope = text_in(fields, "Scope"); !scope.empty() && scope != "local")
    return Error{Code::kPermissionDenied,
                 "cannot create a swarm scoped network when swarm is not active"};
  const bool ipv6 = flag_in(fields, "EnableIPv6");
  if (!flag_in(fields, "EnableIPv4"))
    return ipv6 ? Error{Code::kNotSupported,
                        "EnableIPv4=false is not supported: every network has IPv4 here"}
                : invalid("IPv4 or IPv6 must be enabled");
  if (const json& from = fields.at("ConfigFrom"); from.is_object()) {
    const auto name = text_field(from, "Network");
    if (!name) return name.error();
    if (!name->empty())
      return Error{Code::kNotFound,
                   "configuration network \"" + name->substr(0, 128) + "\" does not exist"};
  }
  request.spec.internal = flag_in(fields, "Internal");
  request.labels = texts_in(fields, "Labels");
  request.options = texts_in(fields, "Options");
  if (ipv6) request.spec.ipv6.emplace();
  RETURN_IF_ERROR(parse_ipam(fields.at("IPAM"), request));
  for (const auto& [name, value] : request.options)
    RETURN_IF_ERROR(parse_option(name, value, request));
  if (request.spec.ipv6 && request.spec.mtu < kLeastMtu6)
    return invalid("a network with IPv6 has an MTU of at least " + std::to_string(kLeastMtu6));
  return request;
}

}  // namespace engine
