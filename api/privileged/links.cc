#include "api/privileged/links.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/ether.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <fstream>
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

using Message = std::unique_ptr<nl_msg, decltype(&nlmsg_free)>;

/// `filled`: what filling the message returned.
Result<void> send(const Message& message, int filled, const std::string& what) {
  const std::unique_ptr<nl_sock, decltype(&nl_socket_free)> socket(nl_socket_alloc(),
                                                                   &nl_socket_free);
  if (!socket) return Error{Code::kInternal, what + ": no memory"};
  int error = filled;
  if (error == 0) error = nl_connect(socket.get(), NETLINK_ROUTE);
  // It takes the message.
  if (error == 0) {
    nlmsg_get(message.get());
    error = nl_send_sync(socket.get(), message.get());
  }
  if (error < 0) return Error{Code::kInternal, what + ": " + nl_geterror(error)};
  return {};
}

/// `attribute`: one of IFLA_BRPORT_*, of a byte.
Result<void> switch_on(const std::string& port, int attribute, const std::string& what) {
  const Message message(nlmsg_alloc_simple(RTM_SETLINK, NLM_F_REQUEST | NLM_F_ACK), &nlmsg_free);
  if (!message) return Error{Code::kInternal, what + ": no memory"};
  ifinfomsg link{};
  link.ifi_family = AF_BRIDGE;
  link.ifi_index = static_cast<int>(::if_nametoindex(port.c_str()));
  int error = nlmsg_append(message.get(), &link, sizeof link, NLMSG_ALIGNTO);
  if (error == 0) {
    nlattr* const nest = nla_nest_start(message.get(), IFLA_PROTINFO | NLA_F_NESTED);
    error = nla_put_u8(message.get(), attribute, 1);
    nla_nest_end(message.get(), nest);
  }
  return send(message, error, what);
}

bool bridges_show_frames() {
  std::ifstream file("/proc/sys/net/bridge/bridge-nf-call-iptables");
  return file.get() == '1';
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
  RETURN_IF_ERROR(socket_ioctl(SIOCBRADDIF, &*request, "add " + port + " to " + bridge));
  if (!bridges_show_frames()) return {};
  return switch_on(port, IFLA_BRPORT_MODE, "let " + port + " have its frames back");
}

Result<void> isolate(const std::string& port) {
  return switch_on(port, IFLA_BRPORT_ISOLATED, "isolate " + port);
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

Result<void> add_address6(const std::string& name, const std::string& address,
                          std::uint8_t prefix_length) {
  in6_addr parsed{};
  if (::inet_pton(AF_INET6, address.c_str(), &parsed) != 1 || prefix_length > 128)
    return Error{Code::kInvalidArgument, "bad address '" + address + "'"};
  const std::string what = "set the address of " + name;
  const Message message(
      nlmsg_alloc_simple(RTM_NEWADDR, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE),
      &nlmsg_free);
  if (!message) return Error{Code::kInternal, what + ": no memory"};
  ifaddrmsg body{};
  body.ifa_family = AF_INET6;
  body.ifa_prefixlen = prefix_length;
  body.ifa_flags = IFA_F_NODAD;
  body.ifa_index = ::if_nametoindex(name.c_str());
  int error = nlmsg_append(message.get(), &body, sizeof body, NLMSG_ALIGNTO);
  if (error == 0) error = nla_put(message.get(), IFA_LOCAL, sizeof parsed, &parsed);
  return send(message, error, what);
}

}  // namespace engine::links
