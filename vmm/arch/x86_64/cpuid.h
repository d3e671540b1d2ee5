// The CPUID leaves that a guest sees: those that KVM supports, without the features that a cloned
// machine must not have, with the machine's own processor numbers and topology (one core per vCPU,
// one package).
//
// Spec: Intel SDM 2A "CPUID"; AMD APM 3 appendix E; the kernel's
// Documentation/virt/kvm/x86/cpuid.rst.
#pragma once

#include <linux/kvm.h>

#include <cstdint>
#include <span>
#include <vector>

namespace x86_64 {

/// The leaves for a machine of `vcpus` processors. Where a leaf names a processor, it names number
/// 0.
std::vector<kvm_cpuid_entry2> machine_cpuid(std::vector<kvm_cpuid_entry2> supported,
                                            std::uint32_t vcpus);

/// Makes `leaves`, from machine_cpuid(), name processor `id`.
void set_processor_id(std::span<kvm_cpuid_entry2> leaves, std::uint32_t id);

}  // namespace x86_64
