// Subnet6: what subnet.h has, for IPv6.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/base/result.h"

namespace engine {

struct Subnet6 {
  /// Of an address, or of a host in a subnet. Host 0 is the routers' (RFC 4291, 2.6.1).
  using Host = unsigned __int128;
  static constexpr const char* kFamily = "IPv6";

  Host network = 0;  // as a number, host bits zero
  std::uint8_t prefix_length = 0;

  /// "fd00:1::/64"; host bits are cleared. kInvalidArgument: not that, smaller than /126 or larger
  /// than /8, or not of addresses that a machine can have: link-local, multicast, loopback and so
  /// on.
  static base::Result<Subnet6> parse(std::string_view text);
  /// The same for a part of a subnet, which may be as small as one address.
  static base::Result<Subnet6> parse_range(std::string_view text);

  std::string to_string() const;
  std::string address(Host host) const;
  Host last_host() const { return last_of(prefix_length); }
  /// Which host this address is; nullopt if it is not one.
  std::optional<Host> host(const std::string& address) const;
  bool overlaps(const Subnet6& other) const;

  /// The highest number that a host of such a subnet can have.
  static Host last_of(unsigned prefix_length) {
    return prefix_length >= 128 ? 0 : ~Host{0} >> prefix_length;
  }
};

/// As inet_ntop() writes it, so that one address has one text. kInvalidArgument: it is none.
base::Result<std::string> canonical_address6(const std::string& text);

/// Networks that this host has addresses in or routes to (the default route left out).
std::vector<Subnet6> subnets6_in_use();

/// The lowest free /64 of this host's own /48 (RFC 4193), which follows from `host_id`: other hosts
/// have others. kResourceExhausted: none is free.
base::Result<Subnet6> choose_subnet6(std::string_view host_id, const std::vector<Subnet6>& used);

}  // namespace engine
