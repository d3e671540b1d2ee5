// Vm: one KVM virtual machine, with its memory slots, processors, interrupts and event descriptors.
//
// Threads: set-up from one thread; signal_msi() and set_msi_routes() from any.
// Order: first the interrupt controllers, which the platform makes through control(), then
// set_memory(), then create_vcpu(). Event descriptors come last: once one is registered, each
// further slot or vCPU waits for an SRCU grace period.
#pragma once

#include <linux/kvm.h>

#include <cstdint>
#include <optional>
#include <span>

#include "vmm/base/unique_fd.h"
#include "vmm/kvm/control.h"
#include "vmm/kvm/vcpu.h"

namespace kvm {

/// One message-signalled interrupt: the write by which a device raises it.
struct Msi {
  std::uint64_t address = 0;
  std::uint32_t data = 0;
  bool operator==(const Msi&) const = default;
};

/// Which message a pin of an interrupt controller sends.
struct MsiRoute {
  std::uint32_t pin = 0;
  Msi msi;
};

class Vm {
 public:
  /// Guest physical [guest_address, + host.size()) becomes `host`, which must outlive the Vm.
  base::Result<void> set_memory(std::uint32_t slot, std::uint64_t guest_address,
                                std::span<std::byte> host) const;
  /// The same for bytes that the guest may only read. Its writes become MMIO exits.
  base::Result<void> set_read_only_memory(std::uint32_t slot, std::uint64_t guest_address,
                                          std::span<std::byte> host) const;

  base::Result<Vcpu> create_vcpu(std::uint32_t id, std::size_t run_area_size) const;

  /// Raises an interrupt now. Not an error if no vCPU takes it.
  base::Result<void> signal_msi(const Msi& msi) const;

  /// Tells KVM which messages the pins of an interrupt controller in this process send: it then
  /// reports the end of interrupt for those that are level-triggered.
  base::Result<void> set_msi_routes(std::span<const MsiRoute> routes) const;

  /// Writes of 4 bytes (with `value`, if given) to `address` signal `event_fd` and do not leave the
  /// kernel.
  base::Result<void> add_ioeventfd(std::uint64_t address, std::optional<std::uint32_t> value,
                                   int event_fd) const;

  /// The extent KVM reports for a KVM_CAP_* of this machine (0: absent).
  base::Result<int> capability(long capability) const;

  /// For requests that only one architecture has; an Error begins with `what`.
  template <typename Argument>
  base::Result<int> control(unsigned long request, Argument argument, std::string_view what) const {
    return kvm::control(fd_.get(), request, argument, what);
  }

 private:
  friend class System;
  base::Result<void> set_memory_slot(std::uint32_t slot, std::uint64_t guest_address,
                                     std::span<std::byte> host, std::uint32_t flags) const;
  explicit Vm(base::UniqueFd fd) : fd_(std::move(fd)) {}

  base::UniqueFd fd_;
};

}  // namespace kvm
