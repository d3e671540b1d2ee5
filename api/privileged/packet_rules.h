// Packet rules: what taps may send, in this daemon's own nftables tables. Other tables are never
// touched.
//
// Family netdev has a chain for each tap, hooked where the tap's frames enter the host: before the
// bridge, before any protocol, so there is no frame of a guest that it does not see. A chain lets
// pass what its TapRule says and drops the rest; frames that go to a tap are not filtered. A tap is
// put on a bridge only after allow().
//
// Threads: one call at a time. Errors: kUnavailable with nftables' words; nothing has changed then.
#pragma once

#include <string>

#include "api/privileged/network_rules.h"
#include "api/privileged/privileged_acts.h"

namespace engine::packet_rules {

/// All tables anew, those of network_rules.h too, which remember `host`. Taps that exist may send
/// nothing until allow().
base::Result<void> install(const RuleSpec& spec, const network_rules::HostLinks& host);
base::Result<void> remove(const std::string& table);
/// The tap must exist. What was said of one of this name before is replaced.
base::Result<void> allow(const TapRule& rule);
/// If the tap is still there, it sends nothing any more; else what is left of its chain goes.
base::Result<void> forbid(const TapRule& rule);

}  // namespace engine::packet_rules
