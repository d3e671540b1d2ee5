#include "vmm/arch/x86_64/vcpu_state.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <string>

#include "vmm/arch/x86_64/kvm_table.h"
#include "vmm/arch/x86_64/layout.h"

namespace x86_64 {
namespace {

constexpr std::uint32_t kMsrTsc = 0x10;
constexpr std::uint32_t kMsrMiscEnable = 0x1a0;
constexpr std::uint32_t kMsrMtrrDefaultType = 0x2ff;
constexpr std::uint32_t kMsrTscDeadline = 0x6e0;
constexpr std::uint32_t kMsrKvmWallClock = 0x11;
constexpr std::uint32_t kMsrKvmSystemTime = 0x12;
constexpr std::uint32_t kMsrKvmWallClockNew = 0x4b564d00;

/// Not part of a saved vCPU: time (resume_time() does it); the wall clock registers, whose write is
/// an order to KVM to store the time once; the older name of the system time register.
bool is_left_out(std::uint32_t index) {
  return index == kMsrTsc || index == kMsrTscDeadline || index == kMsrKvmWallClock ||
         index == kMsrKvmWallClockNew || index == kMsrKvmSystemTime;
}

base::Error malformed(std::string_view what) {
  return {base::Code::kDataLoss, "saved vCPU: " + std::string(what)};
}

template <typename T>
base::Result<std::vector<std::byte>> save(const kvm::Vcpu& vcpu, unsigned long request,
                                          std::string_view what) {
  T value{};
  RETURN_IF_ERROR(vcpu.get(request, value, what));
  std::vector<std::byte> bytes(sizeof value);
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

template <typename T>
base::Result<void> restore(const kvm::Vcpu& vcpu, unsigned long request,
                           std::span<const std::byte> bytes, std::string_view what) {
  T value{};
  if (bytes.size() != sizeof value) return malformed(what);
  std::memcpy(&value, bytes.data(), sizeof value);
  return vcpu.set(request, value, what);
}

base::Result<void> write_msrs(const kvm::Vcpu& vcpu, std::span<const MsrValue> values) {
  while (!values.empty()) {
    MsrTable batch;
    const std::size_t count = std::min(values.size(), kMostMsrsPerCall);
    for (std::size_t i = 0; i < count; ++i) {
      batch.entries[i].index = values[i].index;
      batch.entries[i].data = values[i].value;
    }
    batch.header.count = static_cast<std::uint32_t>(count);
    const auto written = vcpu.control(kSetMsrs, &batch, "KVM_SET_MSRS");
    if (!written) return written.error();
    if (static_cast<std::size_t>(*written) != count)
      return base::Error{base::Code::kNotSupported,
                         "this host refuses the saved value of model-specific register " +
                             std::to_string(values[static_cast<std::size_t>(*written)].index)};
    values = values.subspan(count);
  }
  return {};
}

kvm_segment flat_segment(std::uint16_t selector, std::uint8_t type, bool code) {
  kvm_segment segment{};
  segment.limit = 0xffffffff;
  segment.selector = selector;
  segment.type = type;
  segment.present = 1;
  segment.s = 1;
  segment.g = 1;
  segment.l = code ? 1 : 0;
  segment.db = code ? 0 : 1;
  return segment;
}

kvm_sregs long_mode(kvm_sregs sregs) {
  sregs.cs = flat_segment(0x10, 0xb, true);
  sregs.ds = flat_segment(0x18, 0x3, false);
  sregs.es = sregs.fs = sregs.gs = sregs.ss = sregs.ds;
  sregs.tr = flat_segment(0x20, 0xb, false);
  sregs.tr.s = 0;
  sregs.tr.db = 0;
  sregs.gdt = {.base = kGdtAddress, .limit = 5 * 8 - 1, .padding = {}};
  sregs.idt = {};
  sregs.cr0 = 0x80000033;  // PG, NE, ET, MP, PE
  sregs.cr3 = kPageTablesAddress;
  sregs.cr4 = 0x20;    // PAE
  sregs.efer = 0x500;  // LME, LMA
  return sregs;
}

base::Result<void> match_tsc_rate(const kvm::Vcpu& vcpu, std::uint32_t wanted) {
  const auto rate = vcpu.control(KVM_GET_TSC_KHZ, 0, "KVM_GET_TSC_KHZ");
  if (!rate) return rate.error();
  // 250 ppm: what a measured frequency may differ by from one boot of the host to the next.
  const std::int64_t difference = std::int64_t{*rate} - std::int64_t{wanted};
  if (std::abs(difference) <= std::int64_t{wanted} / 4000) return {};
  const auto set = vcpu.control(KVM_SET_TSC_KHZ, static_cast<unsigned long>(wanted), "TSC rate");
  if (!set)
    return base::Error{base::Code::kNotSupported,
                       "this host's time stamp counter does not run at the template's rate"};
  return {};
}

}  // namespace

base::Result<void> set_cpuid(const kvm::Vcpu& vcpu, std::span<const kvm_cpuid_entry2> leaves) {
  CpuidTable table;
  if (leaves.size() > kMostCpuidLeaves) return malformed("too many CPUID leaves");
  table.header.count = static_cast<std::uint32_t>(leaves.size());
  std::copy(leaves.begin(), leaves.end(), table.entries);
  return vcpu.set(kSetCpuid2, table, "KVM_SET_CPUID2");
}

base::Result<void> start_linux(const kvm::Vcpu& vcpu, memory::GuestAddress entry) {
  constexpr MsrValue kFirmwareSetUp[] = {
      {kMsrMiscEnable, 1},                  // fast strings
      {kMsrMtrrDefaultType, 1u << 11 | 6},  // all memory write-back
  };
  RETURN_IF_ERROR(write_msrs(vcpu, kFirmwareSetUp));
  kvm_sregs sregs{};
  RETURN_IF_ERROR(vcpu.get(KVM_GET_SREGS, sregs, "KVM_GET_SREGS"));
  RETURN_IF_ERROR(vcpu.set(KVM_SET_SREGS, long_mode(sregs), "KVM_SET_SREGS"));
  kvm_regs regs{};
  regs.rip = entry.value;
  regs.rsi = kBootParamsAddress;
  regs.rflags = 0x2;
  return vcpu.set(KVM_SET_REGS, regs, "KVM_SET_REGS");
}

base::Result<std::vector<MsrValue>> read_msrs(const kvm::Vcpu& vcpu,
                                              std::span<const std::uint32_t> indices) {
  std::vector<MsrValue> values;
  while (!indices.empty()) {
    MsrTable batch;
    const std::size_t count = std::min(indices.size(), kMostMsrsPerCall);
    for (std::size_t i = 0; i < count; ++i) batch.entries[i].index = indices[i];
    batch.header.count = static_cast<std::uint32_t>(count);
    const auto read = vcpu.control(kGetMsrs, &batch, "KVM_GET_MSRS");
    if (!read) return read.error();
    // KVM stops at the first it cannot read; that one does not exist on this vCPU.
    const std::size_t got = std::min(static_cast<std::size_t>(*read), count);
    for (std::size_t i = 0; i < got; ++i)
      values.push_back({batch.entries[i].index, batch.entries[i].data});
    indices = indices.subspan(std::min(got + (got < count ? 1 : 0), indices.size()));
  }
  return values;
}

base::Result<VcpuState> save_vcpu(const kvm::Vcpu& vcpu, std::span<const std::uint32_t> msrs,
                                  std::span<const MsrValue> initial, std::size_t xsave_size) {
  VcpuState state;
  const auto keep = [](auto&& result, std::vector<std::byte>& field) -> base::Result<void> {
    if (!result) return result.error();
    field = *std::move(result);
    return {};
  };
  CpuidTable table;
  table.header.count = kMostCpuidLeaves;
  RETURN_IF_ERROR(vcpu.get(kGetCpuid2, table, "KVM_GET_CPUID2"));
  const auto leaves = std::as_bytes(table.used());
  state.cpuid.assign(leaves.begin(), leaves.end());

  // MP_STATE first: reading it makes KVM take a pending INIT or SIPI into account.
  RETURN_IF_ERROR(keep(save<kvm_mp_state>(vcpu, KVM_GET_MP_STATE, "mp state"), state.mp_state));
  RETURN_IF_ERROR(keep(save<kvm_regs>(vcpu, KVM_GET_REGS, "registers"), state.regs));
  RETURN_IF_ERROR(keep(save<kvm_sregs>(vcpu, KVM_GET_SREGS, "system registers"), state.sregs));
  state.xsave.resize(std::max(xsave_size, sizeof(XsaveArea)));
  if (auto got = vcpu.control(kGetXsave2, state.xsave.data(), "KVM_GET_XSAVE2"); !got)
    return got.error();
  RETURN_IF_ERROR(keep(save<kvm_xcrs>(vcpu, KVM_GET_XCRS, "XCRs"), state.xcrs));
  RETURN_IF_ERROR(
      keep(save<kvm_debugregs>(vcpu, KVM_GET_DEBUGREGS, "debug registers"), state.debugregs));
  RETURN_IF_ERROR(keep(save<kvm_lapic_state>(vcpu, KVM_GET_LAPIC, "local APIC"), state.lapic));
  RETURN_IF_ERROR(
      keep(save<kvm_vcpu_events>(vcpu, KVM_GET_VCPU_EVENTS, "pending events"), state.events));

  auto values = read_msrs(vcpu, msrs);
  if (!values) return values.error();
  for (const MsrValue& msr : *values) {
    if (msr.index == kMsrTsc) state.tsc = msr.value;
    if (msr.index == kMsrTscDeadline) state.tsc_deadline = msr.value;
    const bool unchanged = std::any_of(initial.begin(), initial.end(), [&](const MsrValue& first) {
      return first.index == msr.index && first.value == msr.value;
    });
    if (!unchanged && !is_left_out(msr.index)) state.msrs.push_back(msr);
  }
  const auto rate = vcpu.control(KVM_GET_TSC_KHZ, 0, "KVM_GET_TSC_KHZ");
  if (!rate) return rate.error();
  state.tsc_khz = static_cast<std::uint32_t>(*rate);
  return state;
}

base::Result<void> restore_vcpu(const kvm::Vcpu& vcpu, const VcpuState& state,
                                std::size_t xsave_size) {
  if (state.cpuid.size() % sizeof(kvm_cpuid_entry2) != 0) return malformed("CPUID");
  std::vector<kvm_cpuid_entry2> leaves(state.cpuid.size() / sizeof(kvm_cpuid_entry2));
  // The state comes from a file and may have no leaves, hence no bytes to copy from.
  if (!leaves.empty()) std::memcpy(leaves.data(), state.cpuid.data(), state.cpuid.size());
  RETURN_IF_ERROR(set_cpuid(vcpu, leaves));
  RETURN_IF_ERROR(match_tsc_rate(vcpu, state.tsc_khz));
  RETURN_IF_ERROR(restore<kvm_mp_state>(vcpu, KVM_SET_MP_STATE, state.mp_state, "mp state"));
  RETURN_IF_ERROR(restore<kvm_regs>(vcpu, KVM_SET_REGS, state.regs, "registers"));
  RETURN_IF_ERROR(restore<kvm_sregs>(vcpu, KVM_SET_SREGS, state.sregs, "system registers"));
  // KVM reads as many bytes as the machine's XSAVE area has.
  if (state.xsave.size() < std::max(xsave_size, sizeof(XsaveArea))) return malformed("XSAVE area");
  if (auto set = vcpu.control(kSetXsave, state.xsave.data(), "KVM_SET_XSAVE"); !set)
    return set.error();
  RETURN_IF_ERROR(restore<kvm_xcrs>(vcpu, KVM_SET_XCRS, state.xcrs, "XCRs"));
  RETURN_IF_ERROR(
      restore<kvm_debugregs>(vcpu, KVM_SET_DEBUGREGS, state.debugregs, "debug registers"));
  RETURN_IF_ERROR(restore<kvm_lapic_state>(vcpu, KVM_SET_LAPIC, state.lapic, "local APIC"));
  RETURN_IF_ERROR(write_msrs(vcpu, state.msrs));
  return restore<kvm_vcpu_events>(vcpu, KVM_SET_VCPU_EVENTS, state.events, "pending events");
}

base::Result<void> resume_time(const kvm::Vcpu& vcpu, const VcpuState& state, std::uint64_t tsc) {
  const MsrValue values[] = {{kMsrTsc, tsc}, {kMsrTscDeadline, state.tsc_deadline}};
  // A deadline of 0 would only disarm a timer that is not armed.
  return write_msrs(vcpu, std::span(values).first(state.tsc_deadline != 0 ? 2 : 1));
}

}  // namespace x86_64
