// Network rules: which networks reach what, and the ports of the host that lead into them.
//
// All of it is one table of family ip, and one of family ip6, this daemon's own; other tables are
// never touched, and what they refuse stays refused. Its chains stay as they are; networks and
// ports are elements of its sets and maps, so that adding one costs as much with a thousand as with
// none.
//  - Members of a network reach each other. Networks do not reach each other, but by published
//    ports.
//  - From outside, a machine is reached by published ports only; an internal network not at all.
//  - A machine reaches the outside with the host's address, and of the host itself what is
//    published; its other services only if its TapRule says so. It may ping the host.
//  - A connection to a published port keeps its source address, unless that is the loopback's, or
//    of the same network: answers to those would not come back through the host.
// Where forwarding was off before, the host stays no router: of what is in neither direction a
// machine's, only answers, and what somebody else publishes, pass from an interface that was there
// then.
//
// IPv6 has the same rules but for published ports, of which it has none. It is forwarded from the
// first network with IPv6 on (guard_ipv6).
//
// Threads: one call at a time. Errors: kUnavailable with nftables' words; nothing has changed then.
// Source: nft(8); ip_forward and route_localnet in the kernel's ip-sysctl.
#pragma once

#include <string>
#include <vector>

#include "api/privileged/privileged_acts.h"

namespace engine::network_rules {

/// Interfaces of the host that the tables remember.
struct HostLinks {
  // From these nothing is forwarded that is no machine's; none if forwarding was on before.
  std::vector<std::string> guarded;
  std::vector<std::string> guarded6;  // the same of IPv6
  /// Their accept_ra was 1, with which a host that forwards hears no routers, and is 2 now.
  std::vector<std::string> heard_routers;
};

/// The commands that make the tables anew, without a network.
std::string table_commands(const std::string& table, const HostLinks& links);
/// What the present tables remember; nothing if there are none.
HostLinks host_links(const std::string& table);
/// Those of the networks in the present tables; nothing if there are none.
std::vector<std::string> bridges(const std::string& table);
/// Remembers what is said of IPv6, in tables that are there.
base::Result<void> guard_ipv6(const std::string& table, const HostLinks& links);

base::Result<void> add(const NetworkRule& rule);
base::Result<void> remove(const NetworkRule& rule);

base::Result<void> publish(const PortRule& rule);
base::Result<void> withdraw(const PortRule& rule);

/// Whether the machine with this address may ask services of the host.
base::Result<void> let_reach_host(const std::string& table, const std::string& address, bool may);

}  // namespace engine::network_rules
