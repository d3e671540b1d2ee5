// System: the /dev/kvm descriptor that was handed in, and what this host's KVM can do.
//
// Threads: any. Spec: the kernel's Documentation/virt/kvm/api.rst.
#pragma once

#include <linux/kvm.h>

#include <cstdint>
#include <vector>

#include "vmm/base/unique_fd.h"
#include "vmm/kvm/vm.h"

namespace kvm {

class System {
 public:
  /// Takes an open /dev/kvm. kNotSupported if it lacks what the monitor needs.
  static base::Result<System> adopt(base::UniqueFd fd);

  base::Result<Vm> create_vm() const;

  /// Bytes of the shared kvm_run area of each vCPU.
  std::size_t run_area_size() const { return run_area_size_; }

  /// The CPUID leaves KVM can give a guest.
  base::Result<std::vector<kvm_cpuid_entry2>> supported_cpuid() const;

  /// The model-specific registers that a saved vCPU consists of.
  base::Result<std::vector<std::uint32_t>> saved_msrs() const;

 private:
  System(base::UniqueFd fd, std::size_t run_area_size)
      : fd_(std::move(fd)), run_area_size_(run_area_size) {}

  base::UniqueFd fd_;
  std::size_t run_area_size_;
};

}  // namespace kvm
