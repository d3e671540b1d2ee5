#include "api/privileged/links.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/ether.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <memory>

namespace engine::links {

namespace {

using base::Code;
using base::Error;
using base::Result;

constexpr int kVirtioNetHeaderBytes = 12;

Result<ifreq> request_for(const std::string& name) {
  ifreq request{};
  if (name.empty() || name.size() >= sizeof request.ifr_name)
    return Error{Code::kInvalidArgument, "bad interface name '" + name + "'"};
  std::memcpy(request.ifr_name, name.data(), name.size());
  return request;
}

/// An ioctl on any socket, as the interface ones are.
Result<void> socket_ioctl(unsigned long number, void* argument, std::string_view what) {
  const base::UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return base::errno_error("socket");
  if (::ioctl(socket.get(), number, argument) != 0) return base::errno_error(what);
  return {};
}

Result<void> set_inet(unsigned long number, const std::string& name, in_addr address,
                      std::string_view what) {
  auto request = request_for(name);
  if (!request) return std::move(request).error();
  sockaddr_in inet{};
  inet.sin_family = AF_INET;
  inet.sin_addr = address;
  std::memcpy(&request->ifr_addr, &inet, sizeof inet);
  return socket_ioctl(number, &*request, what);
}

}  // namespace

bool exists(const std::string& name) { return ::if_nametoindex(name.c_str()) != 0; }

std::vector<std::string> with_prefix(const std::string& prefix) {
  std::vector<std::string> names;
  const std::unique_ptr<struct if_nameindex[], decltype(&::if_freenameindex)> all(
      ::if_nameindex(), &::if_freenameindex);
  for (const struct if_nameindex* link = all.get(); link != nullptr && link->if_name != nullptr;
       ++link)
    if (std::string_view(link->if_name).starts_with(prefix)) names.emplace_back(link->if_name);
  return names;
}

Result<void> create_bridge(const std::string& name) {
  auto request = request_for(name);
  if (!request) return std::move(request).error();
  return socket_ioctl(SIOCBRADDBR, request->ifr_name, "create bridge " + name);
}

Result<void> delete_bridge(const std::string& name) {
  auto request = request_for(name);
  if (!request) return std::move(request).error();
  return socket_ioctl(SIOCBRDELBR, request->ifr_name, "delete bridge " + name);
}

Result<void> add_to_bridge(const std::string& bridge, const std::string& port) {
  auto request = request_for(bridge);
  if (!request) return std::move(request).error();
  request->ifr_ifindex = static_cast<int>(::if_nametoindex(port.c_str()));
  return socket_ioctl(SIOCBRADDIF, &*request, "add " + port + " to " + bridge);
}

Result<base::UniqueFd> create_tap(const std::string& name) {
  auto request = request_for(name);
  if (!request) return std::move(request).error();
  base::UniqueFd tap(::open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (!tap) return base::errno_error("open /dev/net/tun");
  request->ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_TUN_EXCL);
  if (::ioctl(tap.get(), TUNSETIFF, &*request) != 0) return base::errno_error("create tap " + name);
  int header = kVirtioNetHeaderBytes;
  if (::ioctl(tap.get(), TUNSETVNETHDRSZ, &header) != 0)
    return base::errno_error("set the header size of tap " + name);
  return tap;
}

Result<void> set_up(const std::string& name, bool up) {
  auto request = request_for(name);
  if (!request) return std::move(request).error();
  RETURN_IF_ERROR(socket_ioctl(SIOCGIFFLAGS, &*request, "flags of " + name));
  const int flags = up ? request->ifr_flags | IFF_UP : request->ifr_flags & ~IFF_UP;
  request->ifr_flags = static_cast<short>(flags);
  return socket_ioctl(SIOCSIFFLAGS, &*request, "bring up " + name);
}

Result<void> set_mtu(const std::string& name, std::uint32_t mtu) {
  auto request = request_for(name);
  if (!request) return std::move(request).error();
  request->ifr_mtu = static_cast<int>(mtu);
  return socket_ioctl(SIOCSIFMTU, &*request, "set the mtu of " + name);
}

Result<void> set_mac(const std::string& name, const std::string& mac) {
  auto request = request_for(name);
  if (!request) return std::move(request).error();
  ether_addr parsed{};
  if (::ether_aton_r(mac.c_str(), &parsed) == nullptr)
    return Error{Code::kInvalidArgument, "bad MAC address '" + mac + "'"};
  request->ifr_hwaddr.sa_family = ARPHRD_ETHER;
  std::memcpy(request->ifr_hwaddr.sa_data, &parsed, sizeof parsed);
  return socket_ioctl(SIOCSIFHWADDR, &*request, "set the MAC address of " + name);
}

Result<void> set_address(const std::string& name, const std::string& address,
                         std::uint8_t prefix_length) {
  in_addr parsed{};
  if (::inet_pton(AF_INET, address.c_str(), &parsed) != 1 || prefix_length < 1 ||
      prefix_length > 32)
    return Error{Code::kInvalidArgument, "bad address '" + address + "'"};
  RETURN_IF_ERROR(set_inet(SIOCSIFADDR, name, parsed, "set the address of " + name));
  const in_addr mask{htonl(~std::uint32_t{0} << (32 - prefix_length))};
  return set_inet(SIOCSIFNETMASK, name, mask, "set the netmask of " + name);
}

}  // namespace engine::links
