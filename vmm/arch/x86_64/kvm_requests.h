// The KVM requests that the x86-64 platform makes beside those of vmm/kvm, by the time at which it
// makes them; the sandbox allows no others. Included through vmm/arch/kvm_requests.h.
#pragma once

#include "vmm/arch/x86_64/kvm_table.h"

namespace x86_64 {

/// Those that build a machine, a new one or a clone, before it runs.
inline constexpr unsigned long kBuildingRequests[] = {
    KVM_SET_TSS_ADDR,   KVM_SET_IDENTITY_MAP_ADDR,
    kGetSupportedCpuid, kGetMsrIndexList,
    kSetCpuid2,         KVM_SET_MP_STATE,
    KVM_SET_REGS,       KVM_SET_SREGS,
    kSetXsave,          KVM_SET_XCRS,
    KVM_SET_DEBUGREGS,  KVM_SET_LAPIC,
    kSetMsrs,           KVM_SET_VCPU_EVENTS,
    KVM_SET_TSC_KHZ,    KVM_KVMCLOCK_CTRL,
    KVM_SET_CLOCK,
};

/// Those that save a machine.
inline constexpr unsigned long kReadingRequests[] = {
    kGetMsrs,      kGetCpuid2,          KVM_GET_MP_STATE, KVM_GET_REGS,
    KVM_GET_SREGS, kGetXsave2,          KVM_GET_XCRS,     KVM_GET_DEBUGREGS,
    KVM_GET_LAPIC, KVM_GET_VCPU_EVENTS, KVM_GET_TSC_KHZ,  KVM_GET_CLOCK,
};

}  // namespace x86_64
