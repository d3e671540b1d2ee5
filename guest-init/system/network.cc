#include "guest-init/system/network.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <type_traits>

#include "guest-init/system/text_files.h"

namespace guest_init {
namespace {

std::string name_of(std::size_t slot) { return "eth" + std::to_string(slot); }

/// How many of eth0, eth1, ... there are.
std::size_t count_cards() {
  std::size_t count = 0;
  while (if_nametoindex(name_of(count).c_str()) != 0) ++count;
  return count;
}

ifinfomsg link_message(unsigned index, bool up) {
  ifinfomsg message{};
  message.ifi_family = AF_UNSPEC;
  message.ifi_index = static_cast<int>(index);
  message.ifi_flags = up ? IFF_UP : 0;
  message.ifi_change = IFF_UP;
  return message;
}

/// From the kernel's first namespace, where it is found by its name, to the caller's.
void add_fetching(NetlinkBatch& batch, std::size_t slot) {
  batch.begin(RTM_NEWLINK, 0, link_message(0, false), "fetch " + name_of(slot));
  batch.text_attribute(IFLA_IFNAME, name_of(slot));
  batch.attribute(IFLA_NET_NS_PID, static_cast<std::uint32_t>(getpid()));
}

base::Result<void> write_ipv6_setting(std::size_t slot, const std::string& name,
                                      std::string_view value) {
  return write_file_at(AT_FDCWD, "/proc/sys/net/ipv6/conf/" + name_of(slot) + "/" + name, value);
}

void switch_ipv6_off(std::size_t slot) {
  // Absent without IPv6 in the kernel: nothing to silence then.
  (void)write_ipv6_setting(slot, "disable_ipv6", "1").has_value();
}

/// Without whatever the network could tell it of addresses and routes.
base::Result<void> switch_ipv6_on(std::size_t slot) {
  for (const char* off :
       {"accept_ra", "autoconf", "accept_redirects", "accept_dad", "dad_transmits", "disable_ipv6"})
    RETURN_IF_ERROR(write_ipv6_setting(slot, off, "0"));
  return {};
}

bool is_same_but_route(const protocol::NetworkInterface& a, protocol::NetworkInterface b) {
  b.gateway = a.gateway;
  b.gateway6 = a.gateway6;
  return a == b;
}

/// `Address`: in_addr or in6_addr.
template <typename Address>
base::Result<Address> parse(const std::string& text) {
  constexpr bool kIsSix = std::is_same_v<Address, in6_addr>;
  Address address{};
  if (inet_pton(kIsSix ? AF_INET6 : AF_INET, text.c_str(), &address) == 1) return address;
  return base::Error{base::Code::kInvalidArgument,
                     "\"" + text + "\" is not an IPv" + (kIsSix ? "6" : "4") + " address"};
}

in_addr broadcast_of(in_addr address, unsigned prefix) {
  const std::uint32_t host_bits = prefix >= 32 ? 0 : 0xffffffffu >> prefix;
  return {htonl(ntohl(address.s_addr) | host_bits)};
}

/// RTM_NEWROUTE or RTM_DELROUTE.
template <typename Address>
base::Result<void> change_default_route(NetlinkBatch& batch, std::uint16_t type,
                                        std::uint16_t flags, unsigned index,
                                        const std::string& gateway) {
  const auto address = parse<Address>(gateway);
  if (!address) return address.error();
  rtmsg route{};
  route.rtm_family = std::is_same_v<Address, in6_addr> ? AF_INET6 : AF_INET;
  route.rtm_table = RT_TABLE_MAIN;
  route.rtm_protocol = RTPROT_BOOT;
  route.rtm_scope = RT_SCOPE_UNIVERSE;
  route.rtm_type = RTN_UNICAST;
  batch.begin(type, flags, route, "the default route");
  batch.attribute(RTA_GATEWAY, *address);
  batch.attribute(RTA_OIF, index);
  return {};
}

/// Instead of the one that there is.
template <typename Address>
base::Result<void> add_default_route(NetlinkBatch& batch, unsigned index,
                                     const std::string& gateway) {
  return change_default_route<Address>(batch, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, index,
                                       gateway);
}

/// From `before` to `now`; what goes is added to `old_routes`.
template <typename Address>
base::Result<void> move_default_route(NetlinkBatch& batch, NetlinkBatch& old_routes, unsigned index,
                                      const std::string& before, const std::string& now) {
  if (before == now) return {};
  if (!now.empty()) return add_default_route<Address>(batch, index, now);
  return change_default_route<Address>(old_routes, RTM_DELROUTE, 0, index, before);
}

}  // namespace

base::Result<Network> Network::enter_namespace() {
  Network network;
  network.first_namespace_.reset(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!network.first_namespace_) return base::errno_error("open /proc/self/ns/net");
  auto first_socket = NetlinkSocket::open();
  if (!first_socket) return std::move(first_socket).error();
  network.first_socket_ = *std::move(first_socket);
  network.cards_.resize(count_cards());
  // Else every new namespace gets its own fallback tunnels. Absent without tunnels.
  (void)write_file_at(AT_FDCWD, "/proc/sys/net/core/fb_tunnels_only_for_init_net", "1").has_value();
  if (unshare(CLONE_NEWNET) != 0) return base::errno_error("unshare the network namespace");
  auto socket = NetlinkSocket::open();
  if (!socket) return std::move(socket).error();
  network.socket_ = *std::move(socket);
  if (network.cards_.empty()) return network;
  NetlinkBatch batch;
  add_fetching(batch, 0);
  RETURN_IF_ERROR(network.first_socket_.carry_out(batch));
  return network;
}

base::Result<void> Network::bring_up() {
  const unsigned loopback = if_nametoindex("lo");
  NetlinkBatch batch;
  if (loopback != 0) batch.begin(RTM_NEWLINK, 0, link_message(loopback, true), "bring up loopback");
  if (!cards_.empty()) {
    cards_[0].index = if_nametoindex(name_of(0).c_str());
    switch_ipv6_off(0);
    batch.begin(RTM_NEWLINK, 0, link_message(cards_[0].index, true), "bring up " + name_of(0));
  }
  return socket_.carry_out(batch);
}

base::Result<void> add_interface(NetlinkBatch& batch, unsigned index,
                                 const protocol::ConfigureNetwork::Interface& interface) {
  const auto address = parse<in_addr>(interface.address);
  if (!address) return address.error();
  if (interface.prefix_length > 32)
    return base::Error{base::Code::kInvalidArgument, "a prefix has at most 32 bits"};
  const std::string name = name_of(interface.slot);
  batch.begin(RTM_NEWLINK, 0, link_message(index, true), "set address and size of " + name);
  batch.attribute(IFLA_ADDRESS, interface.mac);
  batch.attribute(IFLA_MTU, interface.mtu);

  ifaddrmsg address_message{};
  address_message.ifa_family = AF_INET;
  address_message.ifa_prefixlen = interface.prefix_length;
  address_message.ifa_index = index;
  batch.begin(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, address_message,
              "add the address of " + name);
  batch.attribute(IFA_LOCAL, *address);
  batch.attribute(IFA_ADDRESS, *address);
  batch.attribute(IFA_BROADCAST, broadcast_of(*address, interface.prefix_length));

  if (interface.gateway.empty()) return {};
  return add_default_route<in_addr>(batch, index, interface.gateway);
}

base::Result<void> add_interface6(NetlinkBatch& batch, unsigned index,
                                  const protocol::ConfigureNetwork::Interface& interface) {
  if (interface.address6.empty()) return {};
  const auto address = parse<in6_addr>(interface.address6);
  if (!address) return address.error();
  if (interface.prefix_length6 > 128)
    return base::Error{base::Code::kInvalidArgument, "a prefix of IPv6 has at most 128 bits"};
  ifaddrmsg message{};
  message.ifa_family = AF_INET6;
  message.ifa_prefixlen = interface.prefix_length6;
  message.ifa_flags = IFA_F_NODAD;
  message.ifa_index = index;
  batch.begin(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, message,
              "add the IPv6 address of " + name_of(interface.slot));
  batch.attribute(IFA_LOCAL, *address);
  batch.attribute(IFA_ADDRESS, *address);
  if (interface.gateway6.empty()) return {};
  return add_default_route<in6_addr>(batch, index, interface.gateway6);
}

base::Result<void> Network::check(const std::vector<Interface>& interfaces) const {
  std::vector<bool> used(cards_.size());
  for (const Interface& interface : interfaces) {
    const std::string name = name_of(interface.slot);
    if (interface.slot >= cards_.size())
      return base::Error{base::Code::kNotFound, "this machine has no " + name};
    if (used[interface.slot])
      return base::Error{base::Code::kInvalidArgument, name + " is named twice"};
    used[interface.slot] = true;
    NetlinkBatch unused;
    RETURN_IF_ERROR(add_interface(unused, 0, interface));
    RETURN_IF_ERROR(add_interface6(unused, 0, interface));
  }
  return {};
}

base::Result<void> Network::send_away(const std::vector<Interface>& interfaces) {
  NetlinkBatch batch;
  for (std::size_t slot = 0; slot < cards_.size(); ++slot) {
    Card& card = cards_[slot];
    if (card.index == 0) continue;
    const auto wanted = std::ranges::find(interfaces, slot, &Interface::slot);
    if (wanted != interfaces.end() &&
        (!card.configured || is_same_but_route(*card.configured, *wanted)))
      continue;
    // A process with the rights for it may have moved the card to a namespace of its own.
    std::array<char, IF_NAMESIZE> present{};
    if (if_indextoname(card.index, present.data()) != nullptr) {
      batch.begin(RTM_NEWLINK, 0, link_message(card.index, false), "remove " + name_of(slot));
      batch.attribute(IFLA_NET_NS_FD, static_cast<std::uint32_t>(first_namespace_.get()));
      batch.text_attribute(IFLA_IFNAME, name_of(slot));
    }
    card = {};
  }
  return batch.requests().empty() ? base::Result<void>() : socket_.carry_out(batch);
}

/// One by one: if one does not come, the others are known to be here.
base::Result<void> Network::fetch(const std::vector<Interface>& interfaces) {
  for (const Interface& interface : interfaces) {
    Card& card = cards_[interface.slot];
    if (card.index != 0) continue;
    NetlinkBatch batch;
    add_fetching(batch, interface.slot);
    RETURN_IF_ERROR(first_socket_.carry_out(batch));
    card.index = if_nametoindex(name_of(interface.slot).c_str());
    switch_ipv6_off(interface.slot);
  }
  return {};
}

base::Result<void> Network::set_up(const std::vector<Interface>& interfaces) {
  NetlinkBatch batch;
  for (const Interface& interface : interfaces) {
    const Card& card = cards_[interface.slot];
    if (!card.configured) RETURN_IF_ERROR(add_interface(batch, card.index, interface));
  }
  if (!batch.requests().empty()) RETURN_IF_ERROR(socket_.carry_out(batch));
  return set_up6(interfaces);
}

base::Result<void> Network::set_up6(const std::vector<Interface>& interfaces) {
  NetlinkBatch batch;
  for (const Interface& interface : interfaces) {
    const Card& card = cards_[interface.slot];
    if (card.configured || interface.address6.empty()) continue;
    RETURN_IF_ERROR(switch_ipv6_on(interface.slot));
    RETURN_IF_ERROR(add_interface6(batch, card.index, interface));
  }
  return batch.requests().empty() ? base::Result<void>() : socket_.carry_out(batch);
}

base::Result<void> Network::move_routes(const std::vector<Interface>& interfaces) {
  NetlinkBatch batch;
  NetlinkBatch old_routes;
  for (const Interface& interface : interfaces) {
    const Card& card = cards_[interface.slot];
    if (!card.configured) continue;
    RETURN_IF_ERROR(move_default_route<in_addr>(batch, old_routes, card.index,
                                                card.configured->gateway, interface.gateway));
    RETURN_IF_ERROR(move_default_route<in6_addr>(batch, old_routes, card.index,
                                                 card.configured->gateway6, interface.gateway6));
  }
  if (!batch.requests().empty()) RETURN_IF_ERROR(socket_.carry_out(batch));
  // It is gone already where another one took its place, or a process removed it.
  if (!old_routes.requests().empty()) (void)socket_.carry_out(old_routes).has_value();
  return {};
}

base::Result<void> Network::configure(const protocol::ConfigureNetwork& request) {
  RETURN_IF_ERROR(check(request.interfaces));
  RETURN_IF_ERROR(send_away(request.interfaces));
  RETURN_IF_ERROR(fetch(request.interfaces));
  RETURN_IF_ERROR(set_up(request.interfaces));
  RETURN_IF_ERROR(move_routes(request.interfaces));
  for (const Interface& interface : request.interfaces)
    cards_[interface.slot].configured = interface;
  return {};
}

base::Result<void> bring_up_loopback() {
  const auto socket = NetlinkSocket::open();
  if (!socket) return socket.error();
  NetlinkBatch batch;
  batch.begin(RTM_NEWLINK, 0, link_message(if_nametoindex("lo"), true), "bring up loopback");
  return socket->carry_out(batch);
}

}  // namespace guest_init
