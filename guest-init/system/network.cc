#include "guest-init/system/network.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <unistd.h>

#include <array>

#include "guest-init/system/text_files.h"

namespace guest_init {
namespace {

std::string name_of(std::size_t slot) { return "eth" + std::to_string(slot); }

/// The indices of eth0, eth1, ..., as many as there are.
std::vector<unsigned> find_cards() {
  std::vector<unsigned> cards;
  while (const unsigned index = if_nametoindex(name_of(cards.size()).c_str()))
    cards.push_back(index);
  return cards;
}

ifinfomsg link_message(unsigned index, bool up) {
  ifinfomsg message{};
  message.ifi_family = AF_UNSPEC;
  message.ifi_index = static_cast<int>(index);
  message.ifi_flags = up ? IFF_UP : 0;
  message.ifi_change = IFF_UP;
  return message;
}

base::Result<in_addr> parse_address(const std::string& text) {
  in_addr address{};
  if (inet_pton(AF_INET, text.c_str(), &address) != 1)
    return base::Error{base::Code::kInvalidArgument, "\"" + text + "\" is not an IPv4 address"};
  return address;
}

in_addr broadcast_of(in_addr address, unsigned prefix) {
  const std::uint32_t host_bits = prefix >= 32 ? 0 : 0xffffffffu >> prefix;
  return {htonl(ntohl(address.s_addr) | host_bits)};
}

}  // namespace

base::Result<Network> Network::enter_namespace() {
  Network network;
  network.first_namespace_.reset(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!network.first_namespace_) return base::errno_error("open /proc/self/ns/net");
  auto first_socket = NetlinkSocket::open();
  if (!first_socket) return std::move(first_socket).error();
  const std::vector<unsigned> cards = find_cards();
  // Else every new namespace gets its own fallback tunnels. Absent without tunnels.
  (void)write_file_at(AT_FDCWD, "/proc/sys/net/core/fb_tunnels_only_for_init_net", "1").has_value();
  if (unshare(CLONE_NEWNET) != 0) return base::errno_error("unshare the network namespace");
  auto socket = NetlinkSocket::open();
  if (!socket) return std::move(socket).error();
  network.socket_ = *std::move(socket);
  if (cards.empty()) return network;
  NetlinkBatch batch;
  for (std::size_t slot = 0; slot < cards.size(); ++slot) {
    batch.begin(RTM_NEWLINK, 0, link_message(cards[slot], false), "move " + name_of(slot));
    batch.attribute(IFLA_NET_NS_PID, static_cast<std::uint32_t>(getpid()));
  }
  RETURN_IF_ERROR(first_socket->carry_out(batch));
  return network;
}

base::Result<void> Network::bring_up() {
  const unsigned loopback = if_nametoindex("lo");
  cards_ = find_cards();
  NetlinkBatch batch;
  if (loopback != 0) batch.begin(RTM_NEWLINK, 0, link_message(loopback, true), "bring up loopback");
  for (std::size_t slot = 0; slot < cards_.size(); ++slot) {
    const std::string name = name_of(slot);
    // Absent without IPv6 in the kernel: nothing to silence then.
    (void)write_file_at(AT_FDCWD, "/proc/sys/net/ipv6/conf/" + name + "/disable_ipv6", "1")
        .has_value();
    batch.begin(RTM_NEWLINK, 0, link_message(cards_[slot], true), "bring up " + name);
  }
  return socket_.carry_out(batch);
}

base::Result<void> add_interface(NetlinkBatch& batch, unsigned index,
                                 const protocol::ConfigureNetwork::Interface& interface) {
  const auto address = parse_address(interface.address);
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
  const auto gateway = parse_address(interface.gateway);
  if (!gateway) return gateway.error();
  rtmsg route{};
  route.rtm_family = AF_INET;
  route.rtm_table = RT_TABLE_MAIN;
  route.rtm_protocol = RTPROT_BOOT;
  route.rtm_scope = RT_SCOPE_UNIVERSE;
  route.rtm_type = RTN_UNICAST;
  batch.begin(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, route, "add the default route");
  batch.attribute(RTA_GATEWAY, *gateway);
  batch.attribute(RTA_OIF, index);
  return {};
}

base::Result<void> Network::configure(const protocol::ConfigureNetwork& request) {
  NetlinkBatch batch;
  std::vector<bool> used(cards_.size());
  for (const auto& interface : request.interfaces) {
    const std::string name = name_of(interface.slot);
    if (interface.slot >= cards_.size() || cards_[interface.slot] == 0)
      return base::Error{base::Code::kNotFound, "this machine has no " + name};
    if (used[interface.slot])
      return base::Error{base::Code::kInvalidArgument, name + " is named twice"};
    used[interface.slot] = true;
    RETURN_IF_ERROR(add_interface(batch, cards_[interface.slot], interface));
  }
  // Docker's `--network none` shows loopback only.
  for (std::size_t slot = 0; slot < cards_.size(); ++slot) {
    if (used[slot] || cards_[slot] == 0) continue;
    batch.begin(RTM_NEWLINK, 0, link_message(cards_[slot], false), "remove " + name_of(slot));
    batch.attribute(IFLA_NET_NS_FD, static_cast<std::uint32_t>(first_namespace_.get()));
    cards_[slot] = 0;
  }
  if (batch.requests().empty()) return {};
  return socket_.carry_out(batch);
}

base::Result<void> bring_up_loopback() {
  const auto socket = NetlinkSocket::open();
  if (!socket) return socket.error();
  NetlinkBatch batch;
  batch.begin(RTM_NEWLINK, 0, link_message(if_nametoindex("lo"), true), "bring up loopback");
  return socket->carry_out(batch);
}

}  // namespace guest_init
