// Cidr: a network of IP addresses, as "10.0.0.0/8" or "fd00::/8". Threads: immutable.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace registry {

/// Whether `host` is an IP address, without brackets, and no name.
bool is_ip_address(const std::string& host);

class Cidr {
 public:
  static std::optional<Cidr> parse(std::string_view text);
  bool contains(const std::string& address) const;
  std::string text() const;

 private:
  bool v6_ = false;
  std::array<std::uint8_t, 16> bytes_{};
  unsigned prefix_ = 0;
};

}  // namespace registry
