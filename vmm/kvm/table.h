// The KVM structures that end in an array, and their ioctl numbers.
//
// The kernel's headers define them with __DECLARE_FLEX_ARRAY, which in C++ gives them other sizes
// than in C, hence wrong ioctl numbers and offsets; so they are spelled out here, and in the folder
// of an architecture that has more of them.
#pragma once

#include <linux/kvm.h>

#include <cstddef>
#include <cstdint>
#include <span>

namespace kvm {

struct CountAndPadding {
  std::uint32_t count = 0;
  std::uint32_t padding = 0;
};

/// A header whose `count` says how many entries follow it, with room for `kCapacity`. used() gives
/// those entries; KVM never counts more of them than it was offered.
template <typename Header, typename Entry, std::size_t kCapacity>
struct Table {
  Header header{};
  Entry entries[kCapacity]{};

  std::span<Entry> used() { return std::span(entries).first(header.count); }
};

inline constexpr unsigned long kSetGsiRouting = _IOW(KVMIO, 0x6a, CountAndPadding);

}  // namespace kvm
