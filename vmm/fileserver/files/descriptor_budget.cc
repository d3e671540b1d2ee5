#include "vmm/fileserver/files/descriptor_budget.h"

#include <cstdio>

namespace fileserver {

std::optional<DescriptorBudget::Slot> DescriptorBudget::take() {
  if (used_.fetch_add(1, std::memory_order_relaxed) < most_) return Slot(this);
  used_.fetch_sub(1, std::memory_order_relaxed);
  if (!reported_.exchange(true))
    std::fprintf(stderr,
                 "containervm-fileserver: the guest uses all of its %zu files and directories at a "
                 "time; more are refused\n",
                 most_);
  return std::nullopt;
}

}  // namespace fileserver
