// System: the /dev/kvm descriptor that was handed in, and what this host's KVM can do.
//
// Threads: any. Spec: the kernel's Documentation/virt/kvm/api.rst.
#pragma once

#include <linux/kvm.h>

#include <cstdint>
#include <span>

#include "vmm/base/unique_fd.h"
#include "vmm/kvm/vm.h"

namespace kvm {

/// A KVM_CAP_* that the host must have, and its name for an error message.
struct Requirement {
  long capability;
  const char* name;
};

class System {
 public:
  /// Takes an open /dev/kvm. kNotSupported if it lacks a capability that the monitor needs on every
  /// architecture, or one of `further`, which the platform needs.
  static base::Result<System> adopt(base::UniqueFd fd, std::span<const Requirement> further);

  base::Result<Vm> create_vm() const;

  /// Bytes of the shared kvm_run area of each vCPU.
  std::size_t run_area_size() const { return run_area_size_; }

  /// For requests that only one architecture has; an Error begins with `what`.
  template <typename Argument>
  base::Result<int> control(unsigned long request, Argument argument, std::string_view what) const {
    return kvm::control(fd_.get(), request, argument, what);
  }

 private:
  System(base::UniqueFd fd, std::size_t run_area_size)
      : fd_(std::move(fd)), run_area_size_(run_area_size) {}

  base::UniqueFd fd_;
  std::size_t run_area_size_;
};

}  // namespace kvm
