#include "api/privileged/packet_rules.h"

#include <fmt/format.h>

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
  for (const char* family : {"ip", "netdev", "bridge"})
    commands += fmt::format("add table {0} {1}\ndelete table {0} {1}\n", family, table);
  return commands;
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
      "    ether daddr != ff:ff:ff:ff:ff:ff"
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
  return text + "  }\n}\n";
}

/// A chain at a tap's ingress that lets nothing pass: before the bridge, so it sees every frame.
std::string closed_chain(const std::string& table, const std::string& tap) {
  return fmt::format(
      "create chain netdev {0} {1} {{"
      " type filter hook ingress device \"{1}\" priority -500; policy drop; }}\n",
      table, tap);
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
             rule.mac, rule.address);
}

/// Kernels differ in whether a chain outlives its device, so it may be there or not.
std::string remove_chain(const TapRule& rule) {
  std::string commands;
  for (const char* verb : {"add", "flush", "delete"})
    commands += fmt::format("{} chain netdev {} {}\n", verb, rule.table, rule.tap);
  return commands;
}

std::string install_commands(const RuleSpec& spec, const std::vector<std::string>& guarded) {
  std::string commands = reset_tables(spec.table) +
                         network_rules::table_commands(spec.table, guarded) + shared_table(spec);
  for (const std::string& tap : links::with_prefix(spec.tap_prefix))
    commands += closed_chain(spec.table, tap);
  return commands;
}

}  // namespace

Result<void> install(const RuleSpec& spec, const std::vector<std::string>& guarded) {
  std::string commands = install_commands(spec, guarded);
  Result<void> done = run(commands);
  for (int attempt = 1; !done && attempt < kInstallAttempts; ++attempt) {
    std::string now = install_commands(spec, guarded);
    if (now == commands) break;  // not for a tap that went
    commands = std::move(now);
    done = run(commands);
  }
  return done;
}

Result<void> remove(const std::string& table) { return run(reset_tables(table)); }

Result<void> allow(const TapRule& rule) {
  if (rule.reaches_host)
    RETURN_IF_ERROR(network_rules::let_reach_host(rule.table, rule.address, true));
  // The usual case by itself: removing a chain costs a grace period of the kernel.
  if (run(open_chain(rule))) return {};
  return run(remove_chain(rule) + open_chain(rule));
}

Result<void> forbid(const TapRule& rule) {
  if (rule.reaches_host)
    RETURN_IF_ERROR(network_rules::let_reach_host(rule.table, rule.address, false));
  if (links::exists(rule.tap) && run(remove_chain(rule) + closed_chain(rule.table, rule.tap)))
    return {};
  return run(remove_chain(rule));
}

}  // namespace engine::packet_rules
