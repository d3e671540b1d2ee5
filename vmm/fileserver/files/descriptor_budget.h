// DescriptorBudget: how many descriptors of this process guests may keep open.
//
// Threads: any. Ownership: the budget outlives its slots.
#pragma once

#include <atomic>
#include <cstddef>
#include <optional>
#include <utility>

namespace fileserver {

class DescriptorBudget {
 public:
  /// One descriptor; it counts for as long as this lives.
  class Slot {
   public:
    Slot(Slot&& other) noexcept : budget_(std::exchange(other.budget_, nullptr)) {}
    Slot& operator=(Slot&&) = delete;
    ~Slot() {
      if (budget_ != nullptr) budget_->used_.fetch_sub(1, std::memory_order_relaxed);
    }

   private:
    friend class DescriptorBudget;
    explicit Slot(DescriptorBudget* budget) : budget_(budget) {}

    DescriptorBudget* budget_;
  };

  explicit DescriptorBudget(std::size_t most) : most_(most) {}

  /// Nothing, once there are as many as there may be. The first time is logged.
  std::optional<Slot> take();

 private:
  const std::size_t most_;
  std::atomic<std::size_t> used_ = 0;
  std::atomic<bool> reported_ = false;
};

}  // namespace fileserver
