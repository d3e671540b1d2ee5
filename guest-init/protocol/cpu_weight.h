// Docker's --cpu-shares on cgroup v2's scale: in the guest, between the container's processes and
// guest-init, and on the host, between machines. Source: runc's conversion.
#pragma once

#include <algorithm>
#include <cstdint>

namespace protocol {

/// 2..262144, clamped, to 1..10000.
constexpr std::uint64_t cpu_weight_of_shares(std::uint64_t shares) {
  return 1 + (std::clamp<std::uint64_t>(shares, 2, 262144) - 2) * 9999 / 262142;
}

}  // namespace protocol
