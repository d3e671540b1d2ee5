#include "vmm/kvm/system.h"

#include <string>
#include <utility>

#include "vmm/kvm/control.h"

namespace kvm {
namespace {

constexpr Requirement kRequirements[] = {
    {KVM_CAP_USER_MEMORY, "user memory"}, {KVM_CAP_IRQ_ROUTING, "irq routing"},
    {KVM_CAP_SIGNAL_MSI, "MSI"},          {KVM_CAP_IMMEDIATE_EXIT, "immediate exit"},
    {KVM_CAP_IOEVENTFD, "ioeventfd"},     {KVM_CAP_READONLY_MEM, "read-only memory"},
};

base::Result<void> check(int fd, std::span<const Requirement> requirements) {
  for (const Requirement& required : requirements) {
    const auto extent =
        control(fd, KVM_CHECK_EXTENSION, required.capability, "KVM_CHECK_EXTENSION");
    if (!extent) return extent.error();
    if (*extent == 0)
      return base::Error{base::Code::kNotSupported,
                         std::string("this host's KVM lacks ") + required.name};
  }
  return {};
}

}  // namespace

base::Result<System> System::adopt(base::UniqueFd fd, std::span<const Requirement> further) {
  const auto version = kvm::control(fd.get(), KVM_GET_API_VERSION, 0, "KVM_GET_API_VERSION");
  if (!version) return version.error();
  if (*version != KVM_API_VERSION)
    return base::Error{base::Code::kNotSupported,
                       "this host's KVM has an API version that is not known"};
  RETURN_IF_ERROR(check(fd.get(), kRequirements));
  RETURN_IF_ERROR(check(fd.get(), further));
  const auto size = kvm::control(fd.get(), KVM_GET_VCPU_MMAP_SIZE, 0, "KVM_GET_VCPU_MMAP_SIZE");
  if (!size) return size.error();
  return System(std::move(fd), static_cast<std::size_t>(*size));
}

base::Result<Vm> System::create_vm() const {
  const auto fd = kvm::control(fd_.get(), KVM_CREATE_VM, 0, "KVM_CREATE_VM");
  if (!fd) return fd.error();
  return Vm(base::UniqueFd(*fd));
}

}  // namespace kvm
