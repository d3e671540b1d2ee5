#include "images/registry/http/cidr.h"

#include <arpa/inet.h>

#include <charconv>

namespace registry {

bool is_ip_address(const std::string& host) {
  in6_addr bytes{};
  return ::inet_pton(AF_INET, host.c_str(), &bytes) == 1 ||
         ::inet_pton(AF_INET6, host.c_str(), &bytes) == 1;
}

std::optional<Cidr> Cidr::parse(std::string_view text) {
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const std::string address(text.substr(0, slash));
  const std::string_view digits = text.substr(slash + 1);
  Cidr cidr;
  if (::inet_pton(AF_INET, address.c_str(), cidr.bytes_.data()) != 1) {
    cidr.v6_ = true;
    if (::inet_pton(AF_INET6, address.c_str(), cidr.bytes_.data()) != 1) return std::nullopt;
  }
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), cidr.prefix_);
  if (error != std::errc() || end != digits.data() + digits.size() ||
      cidr.prefix_ > (cidr.v6_ ? 128u : 32u))
    return std::nullopt;
  for (unsigned bit = cidr.prefix_; bit < 128; ++bit)
    cidr.bytes_[bit / 8] = static_cast<std::uint8_t>(cidr.bytes_[bit / 8] & ~(0x80u >> bit % 8));
  return cidr;
}

bool Cidr::contains(const std::string& address) const {
  std::array<std::uint8_t, 16> bytes{};
  if (::inet_pton(v6_ ? AF_INET6 : AF_INET, address.c_str(), bytes.data()) != 1) return false;
  for (unsigned bit = 0; bit < prefix_; ++bit)
    if (((bytes[bit / 8] ^ bytes_[bit / 8]) & (0x80u >> bit % 8)) != 0) return false;
  return true;
}

std::string Cidr::text() const {
  std::array<char, INET6_ADDRSTRLEN> text{};
  ::inet_ntop(v6_ ? AF_INET6 : AF_INET, bytes_.data(), text.data(), text.size());
  return std::string(text.data()) + "/" + std::to_string(prefix_);
}

}  // namespace registry
