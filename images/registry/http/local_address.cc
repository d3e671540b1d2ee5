#include "images/registry/http/local_address.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>

#include <cstdint>
#include <cstring>

#include "vmm/base/scope_exit.h"

namespace registry {
namespace {

bool is_special(std::uint32_t v4) {
  const std::uint32_t first = v4 >> 24;
  return first == 0 || first == 127 || first >= 224 || (v4 >> 16) == 0xa9fe;  // 169.254.0.0/16
}

bool is_special(const in6_addr& v6) {
  return IN6_IS_ADDR_UNSPECIFIED(&v6) || IN6_IS_ADDR_LOOPBACK(&v6) || IN6_IS_ADDR_LINKLOCAL(&v6) ||
         IN6_IS_ADDR_MULTICAST(&v6);
}

/// The IPv4 address that it is, also as "::ffff:1.2.3.4".
bool as_v4(const sockaddr& address, std::uint32_t& v4) {
  if (address.sa_family == AF_INET) {
    v4 = ntohl(reinterpret_cast<const sockaddr_in&>(address).sin_addr.s_addr);
    return true;
  }
  const in6_addr& v6 = reinterpret_cast<const sockaddr_in6&>(address).sin6_addr;
  if (address.sa_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&v6)) return false;
  std::memcpy(&v4, v6.s6_addr + 12, sizeof v4);
  v4 = ntohl(v4);
  return true;
}

bool same(const sockaddr& a, const sockaddr& b) {
  std::uint32_t x = 0;
  std::uint32_t y = 0;
  const bool is_x = as_v4(a, x);
  const bool is_y = as_v4(b, y);
  if (is_x || is_y) return is_x && is_y && x == y;
  return a.sa_family == AF_INET6 && b.sa_family == AF_INET6 &&
         IN6_ARE_ADDR_EQUAL(&reinterpret_cast<const sockaddr_in6&>(a).sin6_addr,
                            &reinterpret_cast<const sockaddr_in6&>(b).sin6_addr);
}

}  // namespace

bool is_local_address(const sockaddr& address) {
  if (std::uint32_t v4 = 0; as_v4(address, v4)) {
    if (is_special(v4)) return true;
  } else if (address.sa_family != AF_INET6 ||
             is_special(reinterpret_cast<const sockaddr_in6&>(address).sin6_addr)) {
    return true;
  }
  ifaddrs* own = nullptr;
  if (::getifaddrs(&own) != 0) return true;  // nobody knows: rather not
  const base::ScopeExit release([&] { ::freeifaddrs(own); });
  for (const ifaddrs* one = own; one != nullptr; one = one->ifa_next)
    if (one->ifa_addr != nullptr && same(*one->ifa_addr, address)) return true;
  return false;
}

}  // namespace registry
