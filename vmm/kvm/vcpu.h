// Vcpu: one virtual processor's descriptor and its kvm_run area.
//
// Threads: run() only from the vCPU's own thread. get() and set() from that thread, or from another
// while it is not inside run(). request_exit() from a signal handler or any thread.
// Trust: after run(), everything in area() was chosen by the guest.
#pragma once

#include <linux/kvm.h>

#include <cstdint>
#include <span>

#include "vmm/base/mapped_region.h"
#include "vmm/base/unique_fd.h"
#include "vmm/kvm/control.h"

namespace kvm {

class Vcpu {
 public:
  /// Takes the descriptor of a vCPU and maps its run area of `run_area_size` bytes.
  static base::Result<Vcpu> adopt(base::UniqueFd fd, std::size_t run_area_size);

  /// Runs the guest until it needs this process. kUnavailable: a signal or request_exit() ended it.
  base::Result<void> run();

  kvm_run& area() const { return *reinterpret_cast<kvm_run*>(area_.data()); }

  /// All of the run area: kvm_run, and the bytes behind it that its offsets point to.
  std::span<std::byte> area_bytes() const { return area_.bytes(); }

  /// Makes run() return at once, now or at its next call, until it is called with false.
  void request_exit(bool wanted) const {
    __atomic_store_n(&area().immediate_exit, wanted ? 1 : 0, __ATOMIC_RELAXED);
  }

  /// One KVM_GET_* or KVM_SET_* of a plain structure.
  template <typename T>
  base::Result<void> get(unsigned long request, T& value, std::string_view what) const {
    return call(request, &value, what);
  }
  template <typename T>
  base::Result<void> set(unsigned long request, const T& value, std::string_view what) const {
    return call(request, const_cast<T*>(&value), what);
  }

  /// For requests whose structure ends in an array, or that take a number.
  template <typename Argument>
  base::Result<int> control(unsigned long request, Argument argument, std::string_view what) const {
    return kvm::control(fd_.get(), request, argument, what);
  }

 private:
  Vcpu(base::UniqueFd fd, base::MappedRegion area) : fd_(std::move(fd)), area_(std::move(area)) {}

  template <typename T>
  base::Result<void> call(unsigned long request, T* value, std::string_view what) const {
    if (const auto done = kvm::control(fd_.get(), request, value, what); !done) return done.error();
    return {};
  }

  base::UniqueFd fd_;
  base::MappedRegion area_;
};

}  // namespace kvm
