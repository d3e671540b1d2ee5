// Subnet: an IPv4 network and the numbers of the hosts in it; and which subnets are free here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/base/result.h"

namespace engine {

struct Subnet {
  using Host = std::uint32_t;
  static constexpr const char* kFamily = "IPv4";

  std::uint32_t network = 0;  // host byte order, host bits zero
  std::uint8_t prefix_length = 0;

  /// "172.17.0.0/16"; host bits are cleared. kInvalidArgument: not that, or smaller than /30 or
  /// larger than /8.
  static base::Result<Subnet> parse(std::string_view text);
  /// The same for a part of a subnet, which may be as small as one address.
  static base::Result<Subnet> parse_range(std::string_view text);

  std::string to_string() const;
  /// Host 1 is the gateway.
  std::string address(std::uint32_t host) const;
  /// The number of the last host; the broadcast address comes after it.
  std::uint32_t last_host() const { return (std::uint32_t{1} << (32 - prefix_length)) - 2; }
  /// Which host this address is; nullopt if it is not one.
  std::optional<std::uint32_t> host(const std::string& address) const;
  bool overlaps(const Subnet& other) const;

  /// The highest number in a part of a subnet with this prefix.
  static Host last_of(unsigned prefix_length) {
    return prefix_length >= 32 ? 0 : ~Host{0} >> prefix_length;
  }
};

/// The bits of an address that say its network; host byte order.
constexpr std::uint32_t mask_of(unsigned prefix_length) {
  return prefix_length == 0 ? 0 : ~std::uint32_t{0} << (32 - prefix_length);
}

/// Networks that this host has addresses in or routes to (the default route left out).
std::vector<Subnet> subnets_in_use();

/// The subnet of interface `name`, if it has an IPv4 address.
std::optional<Subnet> subnet_of_interface(const std::string& name);

/// The first of Docker's default address pools that does not overlap `used`: 172.17.0.0/16 up to
/// 172.31.0.0/16, then 192.168.0.0/20 and on.
base::Result<Subnet> choose_subnet(const std::vector<Subnet>& used);

}  // namespace engine
