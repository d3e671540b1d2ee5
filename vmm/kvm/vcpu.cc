#include "vmm/kvm/vcpu.h"

namespace kvm {

base::Result<Vcpu> Vcpu::adopt(base::UniqueFd fd, std::size_t run_area_size) {
  auto area = base::MappedRegion::map(run_area_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get());
  if (!area) return base::annotate(std::move(area), "kvm_run");
  return Vcpu(std::move(fd), *std::move(area));
}

base::Result<void> Vcpu::run() {
  if (::ioctl(fd_.get(), KVM_RUN, 0) == 0) return {};
  if (errno == EINTR || errno == EAGAIN)
    return base::Error{base::Code::kUnavailable, "interrupted"};
  return base::errno_error("KVM_RUN");
}

}  // namespace kvm
