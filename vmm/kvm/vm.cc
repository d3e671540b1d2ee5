#include "vmm/kvm/vm.h"

#include "vmm/kvm/control.h"
#include "vmm/kvm/table.h"

namespace kvm {
namespace {

constexpr std::size_t kMostRoutes = 64;

template <typename Argument>
base::Result<void> perform(int fd, unsigned long request, Argument argument,
                           std::string_view what) {
  if (const auto done = control(fd, request, argument, what); !done) return done.error();
  return {};
}

}  // namespace

base::Result<void> Vm::set_memory(std::uint32_t slot, std::uint64_t guest_address,
                                  std::span<std::byte> host) const {
  return set_memory_slot(slot, guest_address, host, 0);
}

base::Result<void> Vm::set_read_only_memory(std::uint32_t slot, std::uint64_t guest_address,
                                            std::span<std::byte> host) const {
  return set_memory_slot(slot, guest_address, host, KVM_MEM_READONLY);
}

base::Result<void> Vm::set_memory_slot(std::uint32_t slot, std::uint64_t guest_address,
                                       std::span<std::byte> host, std::uint32_t flags) const {
  kvm_userspace_memory_region region{};
  region.slot = slot;
  region.flags = flags;
  region.guest_phys_addr = guest_address;
  region.memory_size = host.size();
  region.userspace_addr = reinterpret_cast<std::uintptr_t>(host.data());
  return perform(fd_.get(), KVM_SET_USER_MEMORY_REGION, &region, "KVM_SET_USER_MEMORY_REGION");
}

base::Result<Vcpu> Vm::create_vcpu(std::uint32_t id, std::size_t run_area_size) const {
  const auto fd =
      kvm::control(fd_.get(), KVM_CREATE_VCPU, static_cast<unsigned long>(id), "KVM_CREATE_VCPU");
  if (!fd) return fd.error();
  return Vcpu::adopt(base::UniqueFd(*fd), run_area_size);
}

base::Result<void> Vm::signal_msi(const Msi& msi) const {
  kvm_msi message{};
  message.address_lo = static_cast<std::uint32_t>(msi.address);
  message.address_hi = static_cast<std::uint32_t>(msi.address >> 32);
  message.data = msi.data;
  return perform(fd_.get(), KVM_SIGNAL_MSI, &message, "KVM_SIGNAL_MSI");
}

base::Result<void> Vm::set_msi_routes(std::span<const MsiRoute> routes) const {
  Table<CountAndPadding, kvm_irq_routing_entry, kMostRoutes> table;
  if (routes.size() > kMostRoutes)
    return base::Error{base::Code::kInvalidArgument, "too many interrupt routes"};
  table.header.count = static_cast<std::uint32_t>(routes.size());
  for (std::size_t i = 0; i < routes.size(); ++i) {
    kvm_irq_routing_entry& entry = table.entries[i];
    entry.gsi = routes[i].pin;
    entry.type = KVM_IRQ_ROUTING_MSI;
    entry.u.msi.address_lo = static_cast<std::uint32_t>(routes[i].msi.address);
    entry.u.msi.address_hi = static_cast<std::uint32_t>(routes[i].msi.address >> 32);
    entry.u.msi.data = routes[i].msi.data;
  }
  return perform(fd_.get(), kSetGsiRouting, &table, "KVM_SET_GSI_ROUTING");
}

base::Result<void> Vm::add_ioeventfd(std::uint64_t address, std::optional<std::uint32_t> value,
                                     int event_fd) const {
  kvm_ioeventfd event{};
  event.datamatch = value.value_or(0);
  event.addr = address;
  event.len = 4;
  event.fd = event_fd;
  event.flags = value ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0;
  return perform(fd_.get(), KVM_IOEVENTFD, &event, "KVM_IOEVENTFD");
}

base::Result<int> Vm::capability(long capability) const {
  return kvm::control(fd_.get(), KVM_CHECK_EXTENSION, capability, "KVM_CHECK_EXTENSION");
}

}  // namespace kvm
