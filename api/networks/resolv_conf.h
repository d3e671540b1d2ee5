// resolv.conf(5) for containers, made of the host's as Docker does it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace engine {

struct ResolverSettings {
  std::vector<std::string> servers;
  std::vector<std::string> search;
  std::vector<std::string> options;
};

/// What a resolv.conf says; unknown lines are left out.
ResolverSettings parse_resolv_conf(std::string_view text);

/// Servers that a container can reach: no loopback and no IPv6 ones (machines have IPv4 only).
std::vector<std::string> reachable_servers(const std::vector<std::string>& servers);

/// The host's settings: /etc/resolv.conf, or systemd-resolved's own list where that names only the
/// local stub; Docker's public defaults if nothing is left.
ResolverSettings host_resolver_settings();

/// Whom the host itself asks: addresses, loopback ones too.
std::vector<std::string> host_name_servers();

/// 127.0.0.11 is asked instead of the servers, and first of all for the name as it is.
void ask_internal_resolver(ResolverSettings& settings);

std::string to_text(const ResolverSettings& settings);

}  // namespace engine
