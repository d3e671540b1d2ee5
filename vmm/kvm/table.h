// The KVM structures that end in an array, and their ioctl numbers.
//
// The kernel's headers define them with __DECLARE_FLEX_ARRAY, which in C++ gives them other sizes
// than in C, hence wrong ioctl numbers and offsets; so they are spelled out here.
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
struct Count {
  std::uint32_t count = 0;
};

/// A header that says how many entries follow it, with room for `kCapacity`.
template <typename Header, typename Entry, std::size_t kCapacity>
struct Table {
  Header header{};
  Entry entries[kCapacity]{};

  std::span<Entry> used() { return std::span(entries).first(header.count); }
};

inline constexpr std::size_t kMostCpuidLeaves = 256;  // KVM_MAX_CPUID_ENTRIES
inline constexpr std::size_t kMostMsrsPerCall = 256;  // MAX_IO_MSRS
inline constexpr std::size_t kMostMsrIndices = 1024;

using CpuidTable = Table<CountAndPadding, kvm_cpuid_entry2, kMostCpuidLeaves>;
using MsrTable = Table<CountAndPadding, kvm_msr_entry, kMostMsrsPerCall>;
using MsrIndexTable = Table<Count, std::uint32_t, kMostMsrIndices>;

inline constexpr unsigned long kGetSupportedCpuid = _IOWR(KVMIO, 0x05, CountAndPadding);
inline constexpr unsigned long kSetCpuid2 = _IOW(KVMIO, 0x90, CountAndPadding);
inline constexpr unsigned long kGetCpuid2 = _IOWR(KVMIO, 0x91, CountAndPadding);
inline constexpr unsigned long kGetMsrIndexList = _IOWR(KVMIO, 0x02, Count);
inline constexpr unsigned long kGetMsrs = _IOWR(KVMIO, 0x88, CountAndPadding);
inline constexpr unsigned long kSetMsrs = _IOW(KVMIO, 0x89, CountAndPadding);
inline constexpr unsigned long kSetGsiRouting = _IOW(KVMIO, 0x6a, CountAndPadding);

/// KVM_CAP_XSAVE2: as many bytes as that capability says, at least these.
struct XsaveArea {
  std::byte bytes[4096];
};
inline constexpr unsigned long kGetXsave2 = _IOR(KVMIO, 0xcf, XsaveArea);
inline constexpr unsigned long kSetXsave = _IOW(KVMIO, 0xa5, XsaveArea);

}  // namespace kvm
