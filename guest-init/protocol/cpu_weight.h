// cpu_weight_of_shares(): converts Docker's --cpu-shares to cgroup v2's cpu.weight. The guest uses
// it for the container's cgroup, the host for the machines'. Source: runc's conversion since 1.3.2.
#pragma once

#include <cmath>
#include <cstdint>

namespace protocol {

/// Shares of 2..262144, clamped to that, become a weight of 1..10000. Docker's default of 1024
/// becomes cgroup v2's default of 100: the exponent is the parabola through the least, the default
/// and the greatest value of both scales.
inline std::uint64_t cpu_weight_of_shares(std::uint64_t shares) {
  if (shares <= 2) return 1;
  if (shares >= 262144) return 10000;
  const double doublings = std::log2(static_cast<double>(shares));
  const double exponent = (doublings * doublings + 125 * doublings) / 612 - 7.0 / 34;
  return static_cast<std::uint64_t>(std::ceil(std::pow(10, exponent)));
}

}  // namespace protocol
