#include "api/privileged/packet_rules.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/ether.h>
#include <netinet/in.h>

#include <utility>

#include "api/privileged/links.h"
#include "api/privileged/network_rules.h"
#include "api/privileged/nft_commands.h"

namespace engine::packet_rules {

namespace {

using base::Result;
using nft::run;

/// Taps may go between the look at them and the transaction that names them.
constexpr int kInstallAttempts = 5;

/// "add" makes what is missing, so that the "delete" that follows cannot fail. Daemons of earlier
/// versions filtered in family bridge; what one of them left would silence every tap.
std::string reset_tables(const std::string& table) {
  std::string commands;
  for (const char* family : {"ip", "ip6", "netdev", "bridge"})
    commands += fmt::format("add table {0} {1}\ndelete table {0} {1}\n", family, table);
  return commands;
}

/// The same of IPv6, and what any tap with IPv6 may send that is no question for a neighbour and no
/// answer to one. Behind extension headers, and in fragments, nothing can be looked at, so there
/// are none. Of multicast there is what neighbours need, and mDNS: whoever may ask about groups
/// (MLD) could make the bridge stop to flood what it does not know. Routers and those who give out
/// addresses are the host.
std::string shared_chains6(const RuleSpec& spec) {
  std::string text =
      "  chain refused6 {\n"
      "    ether daddr & 01:00:00:00:00:00 == 01:00:00:00:00:00"
      " ether daddr & ff:ff:00:00:00:00 != 33:33:00:00:00:00 drop\n"
      "    ip6 nexthdr != { tcp, udp, sctp, icmpv6 } drop\n"
      "    ip6 daddr { ::/96, ::ffff:0:0/96 } drop\n"
      "    ip6 daddr ff00::/8 ip6 daddr != { ff02::1, ff02::fb, ff02::1:ff00:0/104 } drop\n"
      "    udp sport 547 udp dport 546 drop\n";
  // Metadata services: Amazon's, Google's, and that of IPv4 behind a translator.
  if (!spec.link_local)
    text += "    ip6 daddr { fd00:ec2::254, fd20:ce::254, 64:ff9b::a9fe:0/112 } drop\n";
  return text +
         "  }\n"
         "  chain plain6 {\n"
         "    ip6 daddr ff02::fb udp sport 5353 udp dport 5353 accept\n"
         "    ip6 daddr ff00::/8 return\n"
         "    meta l4proto { tcp, udp, sctp } accept\n"
         "    icmpv6 type { destination-unreachable, packet-too-big, time-exceeded,"
         " parameter-problem, echo-request, echo-reply } accept\n"
         "  }\n";
}

/// What no tap may send, whoever it says it is. Group addresses other than broadcast and IPv4
/// multicast belong to protocols between bridges and switches, and a bridge hands many of them to
/// its host before its own filters see them. Source routing would name another destination than
/// the one that is looked at. The host's loopback can be reached from its bridges, so that what it
/// sends to a published port of its own gets there. Who gives out addresses or routes is the host.
std::string shared_table(const RuleSpec& spec) {
  std::string text = fmt::format(
      "table netdev {} {{\n"
      "  chain refused {{\n"
      "    ether type ip6 jump refused6\n"
      "    ether type != ip6 ether daddr != ff:ff:ff:ff:ff:ff"
      " ether daddr & 01:00:00:00:00:00 == 01:00:00:00:00:00"
      " ether daddr & ff:ff:ff:80:00:00 != 01:00:5e:00:00:00 drop\n"
      "    ether type ip ip option lsrr exists drop\n"
      "    ether type ip ip option ssrr exists drop\n"
      "    ether type ip ip daddr 127.0.0.0/8 drop\n"
      "    ether type ip udp sport 67 udp dport 68 drop\n"
      "    ether type ip icmp type {{ redirect, router-advertisement }} drop\n",
      spec.table);
  if (!spec.link_local)
    text +=
        "    ether type ip ip daddr 169.254.0.0/16 drop\n"
        "    ether type arp arp daddr ip 169.254.0.0/16 drop\n";
  return text + "  }\n" + shared_chains6(spec) + "}\n";
}

/// A chain at a tap's ingress that lets nothing pass: before the bridge, so it sees every frame.
std::string closed_chain(const std::string& table, const std::string& tap) {
  return fmt::format(
      "create chain netdev {0} {1} {{"
      " type filter hook ingress device \"{1}\" priority -500; policy drop; }}\n",
      table, tap);
}

std::string without_colons(std::string mac) {
  std::erase(mac, ':');
  return mac;
}

/// Raw bytes are compared with numbers.
std::string number_of(const std::string& address6) {
  in6_addr raw{};
  ::inet_pton(AF_INET6, address6.c_str(), &raw);
  return fmt::format("0x{:02x}", fmt::join(raw.s6_addr, ""));
}

/// The address that a link has by itself, from its MAC (RFC 4291, appendix A).
std::string link_local_of(const std::string& mac) {
  ether_addr raw{};
  ::ether_aton_r(mac.c_str(), &raw);
  const auto& bytes = raw.ether_addr_octet;
  return fmt::format("fe80::{:x}:{:x}:{:x}:{:x}", (bytes[0] ^ 2) << 8 | bytes[1],
                     bytes[2] << 8 | 0xff, 0xfe << 8 | bytes[3], bytes[4] << 8 | bytes[5]);
}

/// Neighbours are told the truth: an answer is about an address of the tap's own, and the option
/// with a link's address, without which a question or an answer is eight bytes shorter, has the
/// tap's MAC. An answer says of nobody that it is a router. The numbers are where RFC 4861, 4.3 and
/// 4.4, has the target, the option and the flag, in bits.
std::string open_chain6(const TapRule& rule) {
  if (rule.address6.empty()) return {};
  const std::string link_local = link_local_of(rule.mac);
  const std::string own = fmt::format("{{ {}, {} }}", rule.address6, link_local);
  const std::string add =
      fmt::format("add rule netdev {} {} ether saddr {} ether type ip6 ip6 saddr {} ", rule.table,
                  rule.tap, rule.mac, own);
  const std::string mac = "0x" + without_colons(rule.mac);
  const std::string neighbour = "ip6 hoplimit 255 icmpv6 code 0 icmpv6 type ";
  const std::string about_own = fmt::format(" @th,32,1 0 @th,64,128 {{ {}, {} }}",
                                            number_of(rule.address6), number_of(link_local));
  std::string commands = add + "jump plain6\n";
  for (const auto& [type, option] :
       {std::pair{"nd-neighbor-solicit", 1}, std::pair{"nd-neighbor-advert", 2}}) {
    const std::string begin = add + neighbour + type + (option == 2 ? about_own : "");
    commands +=
        begin + " ip6 length 24 accept\n" + begin +
        fmt::format(" ip6 length 32 @th,192,16 0x0{}01 @th,208,48 {} accept\n", option, mac);
  }
  return commands;
}

/// "ether type" is what the frame itself says, so one with a VLAN tag has another type.
std::string open_chain(const TapRule& rule) {
  const std::string add = fmt::format("add rule netdev {} {} ", rule.table, rule.tap);
  return closed_chain(rule.table, rule.tap) + add + "jump refused\n" + add +
         fmt::format("ether saddr {0} ether type ip ip saddr {1} accept\n", rule.mac,
                     rule.address) +
         add +
         fmt::format(
             "ether saddr {0} ether type arp arp htype 1 arp ptype ip arp hlen 6 arp plen 4"
             " arp saddr ether {0} arp saddr ip {1} accept\n",
             rule.mac, rule.address) +
         open_chain6(rule);
}

/// Kernels differ in whether a chain outlives its device, so it may be there or not.
std::string remove_chain(const TapRule& rule) {
  std::string commands;
  for (const char* verb : {"add", "flush", "delete"})
    commands += fmt::format("{} chain netdev {} {}\n", verb, rule.table, rule.tap);
  return commands;
}

Result<void> let_reach_host(const TapRule& rule, bool may) {
  if (!rule.reaches_host) return {};
  RETURN_IF_ERROR(network_rules::let_reach_host(rule.table, rule.address, may));
  if (rule.address6.empty()) return {};
  return network_rules::let_reach_host(rule.table, rule.address6, may);
}

std::string install_commands(const RuleSpec& spec, const network_rules::HostLinks& host) {
  std::string commands = reset_tables(spec.table) +
                         network_rules::table_commands(spec.table, host) + shared_table(spec);
  for (const std::string& tap : links::with_prefix(spec.tap_prefix))
    commands += closed_chain(spec.table, tap);
  return commands;
}

}  // namespace

Result<void> install(const RuleSpec& spec, const network_rules::HostLinks& host) {
  std::string commands = install_commands(spec, host);
  Result<void> done = run(commands);
  for (int attempt = 1; !done && attempt < kInstallAttempts; ++attempt) {
    std::string now = install_commands(spec, host);
    if (now == commands) break;  // not for a tap that went
    commands = std::move(now);
    done = run(commands);
  }
  return done;
}

Result<void> remove(const std::string& table) { return run(reset_tables(table)); }

Result<void> allow(const TapRule& rule) {
  RETURN_IF_ERROR(let_reach_host(rule, true));
  // The usual case by itself: removing a chain costs a grace period of the kernel.
  if (run(open_chain(rule))) return {};
  return run(remove_chain(rule) + open_chain(rule));
}

Result<void> forbid(const TapRule& rule) {
  RETURN_IF_ERROR(let_reach_host(rule, false));
  if (links::exists(rule.tap) && run(remove_chain(rule) + closed_chain(rule.table, rule.tap)))
    return {};
  return run(remove_chain(rule));
}

}  // namespace engine::packet_rules
