#include "vmm/kvm/system.h"

#include <cstring>
#include <utility>

#include "vmm/kvm/control.h"
#include "vmm/kvm/table.h"

namespace kvm {
namespace {

struct Requirement {
  long capability;
  const char* name;
};

constexpr Requirement kRequirements[] = {
    {KVM_CAP_USER_MEMORY, "user memory"},       {KVM_CAP_SPLIT_IRQCHIP, "split irqchip"},
    {KVM_CAP_IRQ_ROUTING, "irq routing"},       {KVM_CAP_SIGNAL_MSI, "MSI"},
    {KVM_CAP_IMMEDIATE_EXIT, "immediate exit"}, {KVM_CAP_XSAVE2, "XSAVE2"},
    {KVM_CAP_ADJUST_CLOCK, "clock adjustment"}, {KVM_CAP_IOEVENTFD, "ioeventfd"},
    {KVM_CAP_READONLY_MEM, "read-only memory"},
};

}  // namespace

base::Result<System> System::adopt(base::UniqueFd fd) {
  const auto version = control(fd.get(), KVM_GET_API_VERSION, 0, "KVM_GET_API_VERSION");
  if (!version) return version.error();
  if (*version != KVM_API_VERSION)
    return base::Error{base::Code::kNotSupported, "unknown KVM API version"};
  for (const Requirement& required : kRequirements) {
    const auto extent =
        control(fd.get(), KVM_CHECK_EXTENSION, required.capability, "KVM_CHECK_EXTENSION");
    if (!extent) return extent.error();
    if (*extent == 0)
      return base::Error{base::Code::kNotSupported,
                         std::string("this host's KVM lacks ") + required.name};
  }
  const auto size = control(fd.get(), KVM_GET_VCPU_MMAP_SIZE, 0, "KVM_GET_VCPU_MMAP_SIZE");
  if (!size) return size.error();
  return System(std::move(fd), static_cast<std::size_t>(*size));
}

base::Result<Vm> System::create_vm() const {
  const auto fd = control(fd_.get(), KVM_CREATE_VM, 0, "KVM_CREATE_VM");
  if (!fd) return fd.error();
  return Vm(base::UniqueFd(*fd));
}

base::Result<std::vector<kvm_cpuid_entry2>> System::supported_cpuid() const {
  CpuidTable table;
  table.header.count = kMostCpuidLeaves;
  const auto done = control(fd_.get(), kGetSupportedCpuid, &table, "KVM_GET_SUPPORTED_CPUID");
  if (!done) return done.error();
  const auto leaves = table.used();
  return std::vector<kvm_cpuid_entry2>(leaves.begin(), leaves.end());
}

base::Result<std::vector<std::uint32_t>> System::saved_msrs() const {
  MsrIndexTable list;
  list.header.count = kMostMsrIndices;
  const auto done = control(fd_.get(), kGetMsrIndexList, &list, "KVM_GET_MSR_INDEX_LIST");
  if (!done) return done.error();
  const auto indices = list.used();
  return std::vector<std::uint32_t>(indices.begin(), indices.end());
}

}  // namespace kvm
