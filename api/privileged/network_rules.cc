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

/// What follows the table's name. "within" has each bridge beside itself, "own" each subnet: sets
/// can be asked whether two things are of one network, rules cannot.
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

/// `verb` is add or delete.
std::string element(std::string_view verb, const std::string& table, std::string_view set,
                    std::string_view what) {
  return fmt::format("{} element ip {} {} {{ {} }}\n", verb, table, set, what);
}

/// "create" says if one is there already, which "add" does not.
std::string network_elements(std::string_view verb, const NetworkRule& rule) {
  const std::string bridge = '"' + rule.bridge + '"';
  std::string commands = element(verb, rule.table, "bridges", bridge) +
                         element(verb, rule.table, "within", bridge + " . " + bridge) +
                         element(verb, rule.table, "own", rule.subnet + " . " + rule.subnet);
  if (rule.internal) commands += element(verb, rule.table, "closed", bridge);
  if (rule.masquerade && !rule.internal)
    commands += element(verb, rule.table, "hidden", rule.subnet);
  return commands;
}

std::string port_element(std::string_view verb, const PortRule& rule) {
  const std::string key = fmt::format("{} . {}", to_string(rule.protocol), rule.host_port);
  const std::string leads_to = fmt::format(" : {} . {}", rule.address, rule.port);
  if (rule.host_address == kAnyAddress)
    return element(verb, rule.table, "published_everywhere", key + leads_to);
  return element(verb, rule.table, "published", rule.host_address + " . " + key + leads_to);
}

}  // namespace

std::string table_commands(const std::string& table, const std::vector<std::string>& guarded) {
  std::string commands = fmt::format("table ip {} {{{}}}\n", table, kTable);
  for (const std::string& interface : guarded)
    commands += element("add", table, "guarded", '"' + interface + '"');
  return commands;
}

std::vector<std::string> guarded_interfaces(const std::string& table) {
  const auto listed = nft::list("list set ip " + table + " guarded");
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

Result<void> add(const NetworkRule& rule) { return nft::run(network_elements("create", rule)); }

Result<void> remove(const NetworkRule& rule) { return nft::run(network_elements("delete", rule)); }

Result<void> publish(const PortRule& rule) { return nft::run(port_element("create", rule)); }

Result<void> withdraw(const PortRule& rule) { return nft::run(port_element("delete", rule)); }

Result<void> let_reach_host(const std::string& table, const std::string& address, bool may) {
  const std::string add = element("add", table, "host_users", address);
  // Adding first makes the delete one that cannot fail.
  return nft::run(may ? add : add + element("delete", table, "host_users", address));
}

}  // namespace engine::network_rules
