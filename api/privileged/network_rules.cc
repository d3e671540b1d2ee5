#include "api/privileged/network_rules.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string_view>

#include "api/privileged/nft_commands.h"

namespace engine::network_rules {

namespace {

using base::Result;
using nlohmann::json;

constexpr std::string_view kAnyAddress = "0.0.0.0";

/// What follows the table's name in family ip. "within" has each bridge beside itself, "own" each
/// subnet: sets can be asked whether two things are of one network, rules cannot.
constexpr std::string_view kTable = R"(
  set bridges { type ifname; }
  set closed { type ifname; }
  set within { type ifname . ifname; }
  set hidden { type ipv4_addr; flags interval; }
  set own { type ipv4_addr . ipv4_addr; flags interval; }
  set host_users { type ipv4_addr; }
  set guarded { type ifname; }
  map published { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }
  map published_everywhere { type inet_proto . inet_service : ipv4_addr . inet_service; }
  chain ports {
    dnat ip to ip daddr . meta l4proto . th dport map @published
    dnat ip to meta l4proto . th dport map @published_everywhere
  }
  chain incoming {
    type nat hook prerouting priority dstnat; policy accept;
    fib daddr type local jump ports
  }
  chain local {
    type nat hook output priority -100; policy accept;
    fib daddr type local jump ports
  }
  chain outbound {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr @hidden oifname != @bridges masquerade
    ip saddr . ip daddr @own ct status dnat masquerade
    ip saddr 127.0.0.0/8 oifname @bridges masquerade
  }
  chain forward {
    type filter hook forward priority filter; policy accept;
    iifname . oifname @within accept
    iifname @closed drop
    oifname @closed drop
    oifname @bridges ct state established,related accept
    oifname @bridges ct status dnat accept
    oifname @bridges drop
  }
  chain guard {
    type filter hook forward priority filter + 10; policy accept;
    iifname != @guarded accept
    iifname @bridges accept
    oifname @bridges accept
    ct state established,related accept
    ct status dnat accept
    drop
  }
  chain input {
    type filter hook input priority filter; policy accept;
    iifname @bridges jump to_host
  }
  chain to_host {
    ct state established,related accept
    ip saddr @host_users accept
    icmp type echo-request accept
    meta l4proto tcp reject with tcp reset
    reject with icmp admin-prohibited
  }
)";

/// The same in family ip6, without published ports. A neighbour's question and answer are no
/// connection's; what bridges send about multicast groups, and routers about themselves, is for
/// nobody.
constexpr std::string_view kTable6 = R"(
  set bridges { type ifname; }
  set closed { type ifname; }
  set within { type ifname . ifname; }
  set hidden { type ipv6_addr; flags interval; }
  set host_users { type ipv6_addr; }
  set guarded { type ifname; }
  set heard_routers { type ifname; }
  chain outbound {
    type nat hook postrouting priority srcnat; policy accept;
    ip6 saddr @hidden oifname != @bridges masquerade
  }
  chain forward {
    type filter hook forward priority filter; policy accept;
    iifname . oifname @within accept
    iifname @closed drop
    oifname @closed drop
    oifname @bridges ct state established,related accept
    oifname @bridges drop
  }
  chain guard {
    type filter hook forward priority filter + 10; policy accept;
    iifname != @guarded accept
    iifname @bridges accept
    oifname @bridges accept
    ct state established,related accept
    ct status dnat accept
    drop
  }
  chain input {
    type filter hook input priority filter; policy accept;
    iifname @bridges jump to_host
  }
  chain to_host {
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
    ct state established,related accept
    ip6 saddr @host_users accept
    icmpv6 type echo-request accept
    ip6 daddr ff00::/8 drop
    meta l4proto tcp reject with tcp reset
    reject with icmpv6 admin-prohibited
  }
)";

/// `verb` is add or delete, `family` ip or ip6.
std::string element_of(std::string_view family, std::string_view verb, const std::string& table,
                       std::string_view set, std::string_view what) {
  return fmt::format("{} element {} {} {} {{ {} }}\n", verb, family, table, set, what);
}

std::string element(std::string_view verb, const std::string& table, std::string_view set,
                    std::string_view what) {
  return element_of("ip", verb, table, set, what);
}

std::string quoted(const std::string& name) { return '"' + name + '"'; }

std::string ipv6_elements(const std::string& table, const HostLinks& links) {
  std::string commands;
  for (const std::string& interface : links.guarded6)
    commands += element_of("ip6", "add", table, "guarded", quoted(interface));
  for (const std::string& interface : links.heard_routers)
    commands += element_of("ip6", "add", table, "heard_routers", quoted(interface));
  return commands;
}

/// "create" says if one is there already, which "add" does not.
std::string network_elements(std::string_view verb, const NetworkRule& rule) {
  const std::string bridge = quoted(rule.bridge);
  std::string commands = element(verb, rule.table, "own", rule.subnet + " . " + rule.subnet);
  // Also where the network is without IPv6: nothing of that leads to its bridge then.
  for (const char* family : {"ip", "ip6"}) {
    commands += element_of(family, verb, rule.table, "bridges", bridge);
    // Members that may not reach each other do not do it by way of the host, either.
    if (rule.connects)
      commands += element_of(family, verb, rule.table, "within", bridge + " . " + bridge);
    if (rule.internal) commands += element_of(family, verb, rule.table, "closed", bridge);
  }
  if (rule.masquerade && !rule.internal) {
    commands += element(verb, rule.table, "hidden", rule.subnet);
    if (!rule.subnet6.empty())
      commands += element_of("ip6", verb, rule.table, "hidden", rule.subnet6);
  }
  return commands;
}

std::string port_element(std::string_view verb, const PortRule& rule) {
  const std::string key = fmt::format("{} . {}", to_string(rule.protocol), rule.host_port);
  const std::string leads_to = fmt::format(" : {} . {}", rule.address, rule.port);
  if (rule.host_address == kAnyAddress)
    return element(verb, rule.table, "published_everywhere", key + leads_to);
  return element(verb, rule.table, "published", rule.host_address + " . " + key + leads_to);
}

/// Of a set of names; none if there is no such set.
std::vector<std::string> names_in(const std::string& family, const std::string& table,
                                  const std::string& set) {
  const auto listed = nft::list("list set " + family + " " + table + " " + set);
  if (!listed) return {};
  const json answer = json::parse(*listed, nullptr, false);
  std::vector<std::string> names;
  if (!answer.is_object() || !answer.contains("nftables")) return names;
  for (const json& entry : answer["nftables"]) {
    if (!entry.contains("set") || !entry["set"].contains("elem")) continue;
    for (const json& name : entry["set"]["elem"])
      if (name.is_string()) names.push_back(name.get<std::string>());
  }
  return names;
}

}  // namespace

std::string table_commands(const std::string& table, const HostLinks& links) {
  std::string commands =
      fmt::format("table ip {0} {{{1}}}\ntable ip6 {0} {{{2}}}\n", table, kTable, kTable6);
  for (const std::string& interface : links.guarded)
    commands += element("add", table, "guarded", quoted(interface));
  return commands + ipv6_elements(table, links);
}

HostLinks host_links(const std::string& table) {
  return {.guarded = names_in("ip", table, "guarded"),
          .guarded6 = names_in("ip6", table, "guarded"),
          .heard_routers = names_in("ip6", table, "heard_routers")};
}

std::vector<std::string> bridges(const std::string& table) {
  return names_in("ip6", table, "bridges");
}

Result<void> guard_ipv6(const std::string& table, const HostLinks& links) {
  return nft::run(ipv6_elements(table, links));
}

Result<void> add(const NetworkRule& rule) { return nft::run(network_elements("create", rule)); }

Result<void> remove(const NetworkRule& rule) { return nft::run(network_elements("delete", rule)); }

Result<void> publish(const PortRule& rule) { return nft::run(port_element("create", rule)); }

Result<void> withdraw(const PortRule& rule) { return nft::run(port_element("delete", rule)); }

Result<void> let_reach_host(const std::string& table, const std::string& address, bool may) {
  const char* const family = address.find(':') == std::string::npos ? "ip" : "ip6";
  const std::string add = element_of(family, "add", table, "host_users", address);
  // Adding first makes the delete one that cannot fail.
  return nft::run(may ? add : add + element_of(family, "delete", table, "host_users", address));
}

}  // namespace engine::network_rules
