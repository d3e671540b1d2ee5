#include "api/networks/subnet6.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sstream>

namespace engine {

namespace {

using base::Code;
using base::Error;
using base::Result;
using Host = Subnet6::Host;

Host number_of(const in6_addr& raw) {
  Host number = 0;
  for (const std::uint8_t byte : raw.s6_addr) number = number << 8 | byte;
  return number;
}

std::string text_of(Host number) {
  in6_addr raw{};
  for (std::size_t at = sizeof raw.s6_addr; at-- > 0; number >>= 8)
    raw.s6_addr[at] = static_cast<std::uint8_t>(number & 0xff);
  char text[INET6_ADDRSTRLEN] = {};
  ::inet_ntop(AF_INET6, &raw, text, sizeof text);
  return text;
}

std::optional<Host> parse_address(const std::string& text) {
  in6_addr raw{};
  if (::inet_pton(AF_INET6, text.c_str(), &raw) != 1) return std::nullopt;
  return number_of(raw);
}

Error bad_subnet(std::string_view text) {
  return {Code::kInvalidArgument, "bad subnet '" + std::string(text.substr(0, 64)) + "'"};
}

/// Unspecified, loopback, IPv4 in IPv6 and NAT64; link- and site-local; multicast.
bool is_special(const Subnet6& subnet) {
  for (const char* special : {"::/8", "64:ff9b::/16", "fe80::/9", "ff00::/8"})
    if (subnet.overlaps(*Subnet6::parse_range(special))) return true;
  return false;
}

/// The first eight bytes of a FNV-1a hash: only hosts of the same ID are to have the same one.
std::uint64_t hash_of(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

}  // namespace

Result<Subnet6> Subnet6::parse(std::string_view text) {
  const auto subnet = parse_range(text);
  if (subnet && (subnet->prefix_length < 8 || subnet->prefix_length > 126 || is_special(*subnet)))
    return bad_subnet(text);
  return subnet;
}

Result<Subnet6> Subnet6::parse_range(std::string_view text) {
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos) return bad_subnet(text);
  const auto address = parse_address(std::string(text.substr(0, slash)));
  const std::string_view digits = text.substr(slash + 1);
  unsigned prefix = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), prefix);
  if (!address || error != std::errc() || end != digits.data() + digits.size() || prefix > 128)
    return bad_subnet(text);
  return Subnet6{*address & ~last_of(prefix), static_cast<std::uint8_t>(prefix)};
}

std::string Subnet6::to_string() const {
  return text_of(network) + "/" + std::to_string(prefix_length);
}

std::string Subnet6::address(Host host) const { return text_of(network + host); }

std::optional<Host> Subnet6::host(const std::string& address) const {
  const auto parsed = parse_address(address);
  if (!parsed || *parsed < network) return std::nullopt;
  const Host number = *parsed - network;
  if (number == 0 || number > last_host()) return std::nullopt;
  return number;
}

bool Subnet6::overlaps(const Subnet6& other) const {
  const Host hosts = last_of(std::min(prefix_length, other.prefix_length));
  return (network | hosts) == (other.network | hosts);
}

Result<std::string> canonical_address6(const std::string& text) {
  const auto parsed = parse_address(text);
  if (!parsed) return Error{Code::kInvalidArgument, "'" + text.substr(0, 64) + "' is no address"};
  return text_of(*parsed);
}

/// /proc/net/ipv6_route: destination and its prefix (hex), and more.
std::vector<Subnet6> subnets6_in_use() {
  constexpr std::size_t kDigits = 32;
  std::vector<Subnet6> found;
  std::ifstream table("/proc/net/ipv6_route");
  for (std::string line; std::getline(table, line);) {
    std::istringstream fields(line);
    std::string destination;
    unsigned prefix = 0;
    if (!(fields >> destination >> std::hex >> prefix) || destination.size() != kDigits ||
        prefix == 0 || prefix > 128)
      continue;
    Host network = 0;
    for (const char digit : destination) {
      unsigned value = 0;
      std::from_chars(&digit, &digit + 1, value, 16);
      network = network << 4 | value;
    }
    const Subnet6 subnet{network & ~Subnet6::last_of(prefix), static_cast<std::uint8_t>(prefix)};
    if (!is_special(subnet)) found.push_back(subnet);
  }
  return found;
}

Result<Subnet6> choose_subnet6(std::string_view host_id, const std::vector<Subnet6>& used) {
  constexpr unsigned kSubnetBits = 16;
  constexpr std::uint64_t kGlobalId = (std::uint64_t{1} << 40) - 1;
  const Host own = Host{0xfd} << 120 | Host{hash_of(host_id) & kGlobalId} << 80;
  for (Host number = 0; number < Host{1} << kSubnetBits; ++number) {
    const Subnet6 candidate{own | number << 64, 64};
    const auto overlaps = [&](const Subnet6& other) { return candidate.overlaps(other); };
    if (std::none_of(used.begin(), used.end(), overlaps)) return candidate;
  }
  return Error{Code::kResourceExhausted,
               "every default IPv6 subnet is in use on this host: choose one with --subnet"};
}

}  // namespace engine
