#include "api/networks/subnet.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <fstream>
#include <memory>
#include <sstream>

namespace engine {

namespace {

using base::Code;
using base::Error;
using base::Result;

std::string text_of(std::uint32_t address) {
  const in_addr raw{htonl(address)};
  char text[INET_ADDRSTRLEN] = {};
  ::inet_ntop(AF_INET, &raw, text, sizeof text);
  return text;
}

std::optional<std::uint32_t> parse_address(const std::string& text) {
  in_addr raw{};
  if (::inet_pton(AF_INET, text.c_str(), &raw) != 1) return std::nullopt;
  return ntohl(raw.s_addr);
}

Subnet subnet_from(std::uint32_t address, std::uint32_t mask) {
  return {address & mask, static_cast<std::uint8_t>(std::popcount(mask))};
}

std::uint32_t inet_of(const sockaddr* address) {
  return ntohl(reinterpret_cast<const sockaddr_in*>(address)->sin_addr.s_addr);
}

/// /proc/net/route: name, destination, gateway, flags, refs, use, metric, mask (hex, network
/// order).
std::vector<Subnet> routes() {
  std::vector<Subnet> found;
  std::ifstream table("/proc/net/route");
  std::string line;
  std::getline(table, line);
  while (std::getline(table, line)) {
    std::istringstream fields(line);
    std::string name, destination, gateway, flags, refs, use, metric, mask;
    fields >> name >> destination >> gateway >> flags >> refs >> use >> metric >> mask;
    const auto hex = [](const std::string& text) {
      std::uint32_t value = 0;
      std::from_chars(text.data(), text.data() + text.size(), value, 16);
      return ntohl(value);
    };
    if (hex(mask) != 0) found.push_back(subnet_from(hex(destination), hex(mask)));
  }
  return found;
}

std::vector<std::pair<std::string, Subnet>> interface_subnets() {
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return {};
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> owner(list, &::freeifaddrs);
  std::vector<std::pair<std::string, Subnet>> found;
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next)
    if (entry->ifa_addr != nullptr && entry->ifa_netmask != nullptr &&
        entry->ifa_addr->sa_family == AF_INET)
      found.emplace_back(entry->ifa_name,
                         subnet_from(inet_of(entry->ifa_addr), inet_of(entry->ifa_netmask)));
  return found;
}

Error bad_subnet(std::string_view text) {
  return {Code::kInvalidArgument, "bad subnet '" + std::string(text.substr(0, 64)) + "'"};
}

}  // namespace

Result<Subnet> Subnet::parse(std::string_view text) {
  auto subnet = parse_range(text);
  if (subnet && (subnet->prefix_length < 8 || subnet->prefix_length > 30)) return bad_subnet(text);
  return subnet;
}

Result<Subnet> Subnet::parse_range(std::string_view text) {
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos) return bad_subnet(text);
  const auto address = parse_address(std::string(text.substr(0, slash)));
  const std::string_view digits = text.substr(slash + 1);
  unsigned prefix = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), prefix);
  if (!address || error != std::errc() || end != digits.data() + digits.size() || prefix > 32)
    return bad_subnet(text);
  return Subnet{*address & mask_of(prefix), static_cast<std::uint8_t>(prefix)};
}

std::string Subnet::to_string() const {
  return text_of(network) + "/" + std::to_string(prefix_length);
}

std::string Subnet::address(std::uint32_t host) const { return text_of(network + host); }

std::optional<std::uint32_t> Subnet::host(const std::string& address) const {
  const auto parsed = parse_address(address);
  if (!parsed || (*parsed & mask_of(prefix_length)) != network) return std::nullopt;
  const std::uint32_t number = *parsed - network;
  if (number == 0 || number > last_host()) return std::nullopt;
  return number;
}

bool Subnet::overlaps(const Subnet& other) const {
  const std::uint32_t mask = mask_of(std::min(prefix_length, other.prefix_length));
  return (network & mask) == (other.network & mask);
}

std::vector<Subnet> subnets_in_use() {
  std::vector<Subnet> found = routes();
  for (const auto& [name, subnet] : interface_subnets()) found.push_back(subnet);
  return found;
}

std::optional<Subnet> subnet_of_interface(const std::string& name) {
  for (const auto& [interface, subnet] : interface_subnets())
    if (interface == name) return subnet;
  return std::nullopt;
}

Result<Subnet> choose_subnet(const std::vector<Subnet>& used) {
  std::vector<Subnet> candidates;
  for (std::uint32_t second = 17; second <= 31; ++second)
    candidates.push_back({(172u << 24) | (second << 16), 16});
  for (std::uint32_t third = 0; third < 256; third += 16)
    candidates.push_back({(192u << 24) | (168u << 16) | (third << 8), 20});
  for (const Subnet& candidate : candidates)
    if (std::none_of(used.begin(), used.end(),
                     [&](const Subnet& other) { return candidate.overlaps(other); }))
      return candidate;
  return Error{Code::kResourceExhausted,
               "every default subnet is in use on this host: choose one with --subnet"};
}

}  // namespace engine
