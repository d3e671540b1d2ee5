#include "api/engine/settings/networking/endpoint_settings.h"

#include <arpa/inet.h>

#include <charconv>

#include "api/engine/state/json_fields.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;
using nlohmann::json;

namespace {

constexpr std::size_t kLongestAlias = 253;  // RFC 1035, as text

Error invalid(std::string message) {
  return Error{Code::kInvalidArgument, "invalid endpoint settings:\n" + std::move(message)};
}

/// As inet_ntop() writes it, so that one address has one text; nothing if it is none that a machine
/// can have.
std::optional<std::string> canonical6(const std::string& text) {
  in6_addr raw{};
  if (::inet_pton(AF_INET6, text.c_str(), &raw) != 1 || IN6_IS_ADDR_UNSPECIFIED(&raw) ||
      IN6_IS_ADDR_V4MAPPED(&raw))
    return std::nullopt;
  char canonical[INET6_ADDRSTRLEN] = {};
  return ::inet_ntop(AF_INET6, &raw, canonical, sizeof canonical);
}

/// Of IPAMConfig: IPv4Address, IPv6Address, LinkLocalIPs.
Result<void> parse_addresses(const json& config, EndpointSettings& endpoint) {
  if (config.is_null()) return {};
  const auto address = text_field(config, "IPv4Address");
  if (!address) return address.error();
  const auto address6 = text_field(config, "IPv6Address");
  if (!address6) return address6.error();
  if (const auto local = config.find("LinkLocalIPs");
      local != config.end() && !local->is_null() && !local->empty())
    return Error{Code::kNotSupported,
                 "IPAMConfig.LinkLocalIPs is not supported: 169.254.0.0/16 is kept from machines"};
  in_addr raw{};
  if (!address->empty() && ::inet_pton(AF_INET, address->c_str(), &raw) != 1)
    return invalid("invalid IPv4 address: " + address->substr(0, 64));
  endpoint.address = *address;
  if (address6->empty()) return {};
  auto canonical = canonical6(*address6);
  if (!canonical) return invalid("invalid IPv6 address: " + address6->substr(0, 64));
  endpoint.address6 = *std::move(canonical);
  return {};
}

/// Each is looked for at a start and shown by an inspect.
Result<void> check_aliases(const std::vector<std::string>& aliases) {
  if (aliases.size() > kMostAliases)
    return invalid("a container has at most " + std::to_string(kMostAliases) +
                   " aliases on a network here");
  for (const std::string& alias : aliases)
    if (alias.size() > kLongestAlias)
      return invalid("an alias is longer than a name may be: " + alias.substr(0, 64));
  return {};
}

}  // namespace

bool is_user_defined(const std::string& network) {
  return network != "bridge" && network != "default" && network != "none" && network != "host" &&
         !network.starts_with("container:");
}

Result<std::array<std::uint8_t, 6>> parse_mac(const std::string& text) {
  std::array<std::uint8_t, 6> mac{};
  constexpr std::size_t kLength = 17;
  bool good = text.size() == kLength;
  for (std::size_t i = 0; good && i < mac.size(); ++i) {
    const char* const digits = text.data() + 3 * i;
    const auto [end, error] = std::from_chars(digits, digits + 2, mac[i], 16);
    good = error == std::errc() && end == digits + 2 &&
           (i + 1 == mac.size() || digits[2] == ':' || digits[2] == '-');
  }
  // The lowest bit of the first byte says that it is a group's.
  if (good && (mac[0] & 1) == 0) return mac;
  return Error{Code::kInvalidArgument, "invalid MAC address " + text.substr(0, 64)};
}

Result<EndpointSettings> parse_endpoint(const std::string& network, const json& fields) {
  EndpointSettings endpoint{.network = network,
                            .address = {},
                            .mac = std::nullopt,
                            .aliases = strings_in(fields, "Aliases"),
                            .links = {},
                            .gateway_priority = integer_in(fields, "GwPriority"),
                            .address6 = {}};
  RETURN_IF_ERROR(check_aliases(endpoint.aliases));
  RETURN_IF_ERROR(parse_addresses(fields.at("IPAMConfig"), endpoint));
  auto links = parse_links(strings_in(fields, "Links"));
  if (!links) return std::move(links).error();
  endpoint.links = *std::move(links);
  if (!is_user_defined(network)) {
    if (!endpoint.links.empty())
      return invalid(
          "links of an endpoint are for networks that were created; on the default one they are "
          "HostConfig.Links");
    if (!endpoint.address.empty() || !endpoint.address6.empty())
      return invalid("user specified IP address is supported on user defined networks only");
    if (!endpoint.aliases.empty())
      return invalid(
          "network-scoped alias is supported only for containers in user defined "
          "networks");
  }
  if (const std::string mac = text_in(fields, "MacAddress"); !mac.empty()) {
    const auto parsed = parse_mac(mac);
    if (!parsed) return parsed.error();
    endpoint.mac = *parsed;
  }
  return endpoint;
}

}  // namespace engine
