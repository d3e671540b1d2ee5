#include "vmm/arch/x86_64/kvm_calls.h"

#include "vmm/arch/x86_64/kvm_table.h"

namespace x86_64 {
namespace {

template <typename Argument>
base::Result<void> perform(const kvm::Vm& vm, unsigned long request, Argument argument,
                           std::string_view what) {
  if (const auto done = vm.control(request, argument, what); !done) return done.error();
  return {};
}

}  // namespace

base::Result<std::vector<kvm_cpuid_entry2>> supported_cpuid(const kvm::System& system) {
  CpuidTable table;
  table.header.count = kMostCpuidLeaves;
  const auto done = system.control(kGetSupportedCpuid, &table, "KVM_GET_SUPPORTED_CPUID");
  if (!done) return done.error();
  const auto leaves = table.used();
  return std::vector<kvm_cpuid_entry2>(leaves.begin(), leaves.end());
}

base::Result<std::vector<std::uint32_t>> saved_msrs(const kvm::System& system) {
  MsrIndexTable list;
  list.header.count = kMostMsrIndices;
  const auto done = system.control(kGetMsrIndexList, &list, "KVM_GET_MSR_INDEX_LIST");
  if (!done) return done.error();
  const auto indices = list.used();
  return std::vector<std::uint32_t>(indices.begin(), indices.end());
}

base::Result<void> enable_split_irqchip(const kvm::Vm& vm, std::uint32_t pins) {
  kvm_enable_cap cap{};
  cap.cap = KVM_CAP_SPLIT_IRQCHIP;
  cap.args[0] = pins;
  return perform(vm, KVM_ENABLE_CAP, &cap, "KVM_CAP_SPLIT_IRQCHIP");
}

base::Result<void> set_tss_address(const kvm::Vm& vm, std::uint64_t address) {
  return perform(vm, KVM_SET_TSS_ADDR, address, "KVM_SET_TSS_ADDR");
}

base::Result<void> set_identity_map_address(const kvm::Vm& vm, std::uint64_t address) {
  return perform(vm, KVM_SET_IDENTITY_MAP_ADDR, &address, "KVM_SET_IDENTITY_MAP_ADDR");
}

base::Result<std::uint64_t> guest_clock(const kvm::Vm& vm) {
  kvm_clock_data data{};
  RETURN_IF_ERROR(perform(vm, KVM_GET_CLOCK, &data, "KVM_GET_CLOCK"));
  return static_cast<std::uint64_t>(data.clock);
}

base::Result<void> set_guest_clock(const kvm::Vm& vm, std::uint64_t nanoseconds) {
  kvm_clock_data data{};
  data.clock = nanoseconds;
  return perform(vm, KVM_SET_CLOCK, &data, "KVM_SET_CLOCK");
}

std::span<std::byte> port_data(const kvm::Vcpu& vcpu) {
  const auto& io = vcpu.area().io;
  const std::span<std::byte> area = vcpu.area_bytes();
  const std::uint64_t size = std::uint64_t{io.size} * io.count;
  if (io.data_offset > area.size() || size > area.size() - io.data_offset) return {};
  return area.subspan(io.data_offset, size);
}

}  // namespace x86_64
