// Literals for sizes in bytes that show their unit where they are used: 64_KiB, 2_MiB, 1_GiB.
#pragma once

#include <cstdint>

namespace base {

inline constexpr std::uint64_t operator""_KiB(unsigned long long n) { return n << 10; }
inline constexpr std::uint64_t operator""_MiB(unsigned long long n) { return n << 20; }
inline constexpr std::uint64_t operator""_GiB(unsigned long long n) { return n << 30; }

/// `n` rounded up to a multiple of `unit` (a power of two). Wraps on overflow: check hostile input
/// first.
constexpr std::uint64_t round_up(std::uint64_t n, std::uint64_t unit) {
  return (n + unit - 1) & ~(unit - 1);
}

}  // namespace base
