// Slots: lets a fixed number of coroutines at a time into something, in the order they came.
//
// Threads: the io_context thread. The Slots must outlive what waits and every Slot (keep the owner
// alive); a waiter must not be cancelled (await it shielded), or its turn is never given back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "api/async/net.h"
#include "api/async/notifier.h"

namespace async {

class Slots {
 public:
  Slots(const net::any_io_executor& executor, std::size_t count)
      : count_(count), released_(executor) {}

  class [[nodiscard]] Slot {
   public:
    Slot(Slot&& other) noexcept : slots_(std::exchange(other.slots_, nullptr)) {}
    Slot(const Slot&) = delete;
    Slot& operator=(const Slot&) = delete;
    ~Slot() {
      if (slots_ != nullptr) slots_->give_back();
    }

   private:
    friend class Slots;
    explicit Slot(Slots* slots) : slots_(slots) {}
    Slots* slots_;
  };

  net::awaitable<Slot> take() {
    const std::uint64_t ticket = tickets_++;
    while (ticket >= given_back_ + count_) co_await released_.wait();
    co_return Slot(this);
  }

 private:
  void give_back() {
    ++given_back_;
    released_.notify_all();
  }

  const std::uint64_t count_;
  std::uint64_t tickets_ = 0;     // handed out so far
  std::uint64_t given_back_ = 0;  // slots that are free again
  Notifier released_;
};

}  // namespace async
