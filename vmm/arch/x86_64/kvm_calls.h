// The requests to KVM that only x86-64 has: of the system, of a machine before it has processors,
// and of a machine's clock.
//
// Threads: set-up from one thread, as for kvm::Vm. Spec: Documentation/virt/kvm/api.rst.
#pragma once

#include <linux/kvm.h>

#include <cstdint>
#include <span>
#include <vector>

#include "vmm/kvm/system.h"

namespace x86_64 {

/// The capabilities that the platform needs beside those that kvm::System always asks for.
inline constexpr kvm::Requirement kRequirements[] = {
    {KVM_CAP_SPLIT_IRQCHIP, "split irqchip"},
    {KVM_CAP_XSAVE2, "XSAVE2"},
    {KVM_CAP_ADJUST_CLOCK, "clock adjustment"},
};

/// The CPUID leaves that KVM can give a guest.
base::Result<std::vector<kvm_cpuid_entry2>> supported_cpuid(const kvm::System& system);

/// The model-specific registers that a saved vCPU consists of.
base::Result<std::vector<std::uint32_t>> saved_msrs(const kvm::System& system);

/// Puts the local APICs into the kernel and leaves an IOAPIC of `pins` pins to this process. Call
/// it before set_memory().
base::Result<void> enable_split_irqchip(const kvm::Vm& vm, std::uint32_t pins);

/// Places, in guest-physical memory, the task state and the page table that Intel processors need
/// while a guest runs in real mode.
base::Result<void> set_tss_address(const kvm::Vm& vm, std::uint64_t address);
base::Result<void> set_identity_map_address(const kvm::Vm& vm, std::uint64_t address);

/// Nanoseconds of the guest's kvm-clock.
base::Result<std::uint64_t> guest_clock(const kvm::Vm& vm);
base::Result<void> set_guest_clock(const kvm::Vm& vm, std::uint64_t nanoseconds);

/// The data of a KVM_EXIT_IO, checked to lie inside the run area; empty if it does not.
std::span<std::byte> port_data(const kvm::Vcpu& vcpu);

}  // namespace x86_64
