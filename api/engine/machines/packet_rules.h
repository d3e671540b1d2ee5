// Packet rules: this daemon's own nftables tables (families ip and bridge), through libnftables.
// Other tables are never touched.
#pragma once

#include "api/engine/machines/privileged.h"

namespace engine::packet_rules {

/// Both tables anew: NAT to the outside, no tap may send yet.
base::Result<void> install(const RuleSpec& spec);
base::Result<void> remove(const std::string& table);
base::Result<void> allow(const TapRule& rule);
base::Result<void> forbid(const TapRule& rule);

}  // namespace engine::packet_rules
