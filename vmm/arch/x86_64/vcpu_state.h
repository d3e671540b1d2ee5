// The state that KVM keeps of one x86-64 vCPU: made ready to start Linux, saved and restored.
//
// Threads: the vCPU must not be inside run(). Before it is saved, its last exit must be finished:
// run it once with request_exit(). The time stamp counter and its timer are set by resume_time(),
// just before the vCPU runs, so that a clone that waits in a pool does not age.
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

/// The registers of `indices` that can be read, with their values.
base::Result<std::vector<MsrValue>> read_msrs(const kvm::Vcpu& vcpu,
                                              std::span<const std::uint32_t> indices);

/// `initial` are the registers of a vCPU that never ran; a register that still has such a value is
/// not saved. `xsave_size` is the machine's KVM_CAP_XSAVE2, in bytes.
base::Result<VcpuState> save_vcpu(const kvm::Vcpu& vcpu, std::span<const std::uint32_t> msrs,
                                  std::span<const MsrValue> initial, std::size_t xsave_size);

/// Puts `state` into a fresh vCPU. kDataLoss if it is not what save_vcpu() saves; kNotSupported if
/// this host refuses a saved register or its time stamp counter cannot run at the saved rate.
base::Result<void> restore_vcpu(const kvm::Vcpu& vcpu, const VcpuState& state,
                                std::size_t xsave_size);

/// Lets time go on from the saved instant. `tsc` is one value for all vCPUs of a machine.
base::Result<void> resume_time(const kvm::Vcpu& vcpu, const VcpuState& state, std::uint64_t tsc);

}  // namespace x86_64
