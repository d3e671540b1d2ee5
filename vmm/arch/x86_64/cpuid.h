// The CPUID leaves a guest sees: what KVM supports, without what a cloned machine must not have,
// with its own processor number and topology (one core per vCPU, one package).
//
// Spec: Intel SDM 2A "CPUID"; AMD APM 3 appendix E; the kernel's
// Documentation/virt/kvm/x86/cpuid.rst.
#pragma once

#include <linux/kvm.h>

#include <cstdint>
#include <span>
#include <vector>

namespace x86_64 {

/// The leaves for a machine of `vcpus`; those that name a processor are for processor 0.
std::vector<kvm_cpuid_entry2> machine_cpuid(std::vector<kvm_cpuid_entry2> supported,
                                            std::uint32_t vcpus);

/// Puts processor `id` into machine leaves.
void set_processor_id(std::span<kvm_cpuid_entry2> leaves, std::uint32_t id);

}  // namespace x86_64
