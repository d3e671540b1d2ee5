#include "api/engine/settings/naming.h"

#include <arpa/inet.h>

#include <array>

#include "api/engine/state/json_fields.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;
using nlohmann::json;

namespace {

constexpr std::size_t kLongestHostname = 64;

Error invalid(std::string message) { return Error{Code::kInvalidArgument, std::move(message)}; }

Result<std::string> parse_hostname(const json& config) {
  std::string hostname = text_in(config, "Hostname");
  if (hostname.size() > kLongestHostname || hostname.find_first_of(" \t\r\n/") != std::string::npos)
    return invalid("invalid hostname \"" + hostname.substr(0, 64) + "\"");
  return hostname;
}

bool is_address(const std::string& text) {
  std::array<unsigned char, sizeof(in6_addr)> bytes{};
  return ::inet_pton(AF_INET, text.c_str(), bytes.data()) == 1 ||
         ::inet_pton(AF_INET6, text.c_str(), bytes.data()) == 1;
}

/// "name:address"; the address may be host-gateway.
Result<ExtraHost> parse_extra_host(const std::string& text) {
  const std::size_t split = text.find_first_of(":=");
  if (split == std::string::npos || split == 0)
    return invalid("bad format for add-host: \"" + text.substr(0, 128) + "\"");
  ExtraHost host{.name = text.substr(0, split), .address = std::nullopt};
  std::string address = text.substr(split + 1);
  if (address == "host-gateway") return host;
  if (!is_address(address))
    return invalid("invalid IP address in add-host: \"" + address.substr(0, 128) + "\"");
  host.address = std::move(address);
  return host;
}

Result<std::string> parse_network(const json& config, const json& host) {
  std::string mode = text_in(host, "NetworkMode");
  if (mode == "host")
    return Error{Code::kNotSupported,
                 "network mode \"host\" is not supported: a container is in a machine, which does "
                 "not have the host's network"};
  if (flag_in(config, "NetworkDisabled")) return std::string("none");
  return mode == "default" ? std::string("bridge") : mode;
}

}  // namespace

Result<Naming> parse_naming(const json& config, const json& host) {
  auto hostname = parse_hostname(config);
  if (!hostname) return std::move(hostname).error();
  Naming naming{.hostname = *std::move(hostname),
                .domainname = text_in(config, "Domainname"),
                .extra_hosts = {},
                .links = {},
                .network = {},
                .dns_servers = strings_in(host, "Dns"),
                .dns_search = strings_in(host, "DnsSearch"),
                .dns_options = strings_in(host, "DnsOptions")};
  for (const std::string& text : strings_in(host, "ExtraHosts")) {
    auto extra = parse_extra_host(text);
    if (!extra) return std::move(extra).error();
    naming.extra_hosts.push_back(*std::move(extra));
  }
  auto links = parse_links(strings_in(host, "Links"));
  if (!links) return std::move(links).error();
  naming.links = *std::move(links);
  auto network = parse_network(config, host);
  if (!network) return std::move(network).error();
  naming.network = *std::move(network);
  return naming;
}

}  // namespace engine
