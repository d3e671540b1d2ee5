// The KVM structures of x86-64 that end in an array, and their ioctl numbers (vmm/kvm/table.h says
// why they are spelled out).
#pragma once

#include <linux/kvm.h>

#include <cstddef>
#include <cstdint>

#include "vmm/kvm/table.h"

namespace x86_64 {

struct Count {
  std::uint32_t count = 0;
};

inline constexpr std::size_t kMostCpuidLeaves = 256;  // KVM_MAX_CPUID_ENTRIES
inline constexpr std::size_t kMostMsrsPerCall = 256;  // MAX_IO_MSRS
inline constexpr std::size_t kMostMsrIndices = 1024;

using CpuidTable = kvm::Table<kvm::CountAndPadding, kvm_cpuid_entry2, kMostCpuidLeaves>;
using MsrTable = kvm::Table<kvm::CountAndPadding, kvm_msr_entry, kMostMsrsPerCall>;
using MsrIndexTable = kvm::Table<Count, std::uint32_t, kMostMsrIndices>;

inline constexpr unsigned long kGetSupportedCpuid = _IOWR(KVMIO, 0x05, kvm::CountAndPadding);
inline constexpr unsigned long kSetCpuid2 = _IOW(KVMIO, 0x90, kvm::CountAndPadding);
inline constexpr unsigned long kGetCpuid2 = _IOWR(KVMIO, 0x91, kvm::CountAndPadding);
inline constexpr unsigned long kGetMsrIndexList = _IOWR(KVMIO, 0x02, Count);
inline constexpr unsigned long kGetMsrs = _IOWR(KVMIO, 0x88, kvm::CountAndPadding);
inline constexpr unsigned long kSetMsrs = _IOW(KVMIO, 0x89, kvm::CountAndPadding);

/// The smallest XSAVE area. KVM_CAP_XSAVE2 says how many bytes a machine's really has.
struct XsaveArea {
  std::byte bytes[4096];
};
inline constexpr unsigned long kGetXsave2 = _IOR(KVMIO, 0xcf, XsaveArea);
inline constexpr unsigned long kSetXsave = _IOW(KVMIO, 0xa5, XsaveArea);

}  // namespace x86_64
