// Everything KVM keeps about one x86-64 vCPU: how it starts Linux, how it is saved and restored.
//
// Threads: the vCPU must not be inside run(). Before saving, the exit it last returned with must be
// finished (run it once with request_exit()).
// The time stamp counter and its timer are restored by resume_time(), just before the vCPU runs:
// a clone that waits in a pool does not age.
#pragma once

#include <linux/kvm.h>

#include <cstdint>
#include <span>
#include <vector>

#include "vmm/base/result.h"
#include "vmm/base/wire.h"
#include "vmm/kvm/vcpu.h"
#include "vmm/memory/guest_memory.h"

namespace x86_64 {

struct MsrValue {
  std::uint32_t index = 0;
  std::uint64_t value = 0;
  static void fields(auto& self, auto&& visit) { visit(self.index, self.value); }
};

struct VcpuState {
  std::vector<std::byte> cpuid;  // kvm_cpuid_entry2[]
  std::vector<std::byte> mp_state;
  std::vector<std::byte> regs;
  std::vector<std::byte> sregs;
  std::vector<std::byte> xsave;
  std::vector<std::byte> xcrs;
  std::vector<std::byte> debugregs;
  std::vector<std::byte> lapic;
  std::vector<std::byte> events;
  std::vector<MsrValue> msrs;
  std::uint64_t tsc = 0;
  std::uint64_t tsc_deadline = 0;
  std::uint32_t tsc_khz = 0;
  static void fields(auto& self, auto&& visit) {
    visit(self.cpuid, self.mp_state, self.regs, self.sregs, self.xsave, self.xcrs, self.debugregs,
          self.lapic, self.events, self.msrs, self.tsc, self.tsc_deadline, self.tsc_khz);
  }
};

base::Result<void> set_cpuid(const kvm::Vcpu& vcpu, std::span<const kvm_cpuid_entry2> leaves);

/// Puts the boot processor into 64-bit mode at `entry` as the Linux boot protocol wants it.
base::Result<void> start_linux(const kvm::Vcpu& vcpu, memory::GuestAddress entry);

/// The readable ones of `indices` with their values.
base::Result<std::vector<MsrValue>> read_msrs(const kvm::Vcpu& vcpu,
                                              std::span<const std::uint32_t> indices);

/// `initial`: the registers of a vCPU that never ran; those that still hold that are left out.
/// `xsave_size`: KVM_CAP_XSAVE2 of the machine.
base::Result<VcpuState> save_vcpu(const kvm::Vcpu& vcpu, std::span<const std::uint32_t> msrs,
                                  std::span<const MsrValue> initial, std::size_t xsave_size);

/// Into a fresh vCPU. kDataLoss if `state` was not saved by save_vcpu() on such a host,
/// kNotSupported if this host's time stamp counter cannot run at its rate.
base::Result<void> restore_vcpu(const kvm::Vcpu& vcpu, const VcpuState& state,
                                std::size_t xsave_size);

/// Time goes on from the saved instant. `tsc`: one value for all vCPUs of a machine.
base::Result<void> resume_time(const kvm::Vcpu& vcpu, const VcpuState& state, std::uint64_t tsc);

}  // namespace x86_64
