// Slots: lets a fixed number of coroutines at a time into something, in the order they came.
//
// Threads: the io_context thread. A Slot or a waiter may be destroyed after the Slots that it came
// from (with the io_context, when a daemon ends in the middle). A waiter must not be cancelled
// (await it shielded), or its turn is never given back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "api/async/net.h"
#include "api/async/notifier.h"

namespace async {

class Slots {
  struct State {
    State(const net::any_io_executor& executor, std::size_t slots)
        : count(slots), released(executor) {}
    const std::uint64_t count;
    std::uint64_t tickets = 0;     // handed out so far
    std::uint64_t given_back = 0;  // slots that are free again
    Notifier released;
  };

 public:
  Slots(const net::any_io_executor& executor, std::size_t count)
      : state_(std::make_shared<State>(executor, count)) {}

  class [[nodiscard]] Slot {
   public:
    Slot(Slot&&) noexcept = default;
    Slot(const Slot&) = delete;
    Slot& operator=(const Slot&) = delete;
    ~Slot() {
      if (!state_) return;
      ++state_->given_back;
      state_->released.notify_all();
    }

   private:
    friend class Slots;
    explicit Slot(std::shared_ptr<State> state) : state_(std::move(state)) {}
    std::shared_ptr<State> state_;
  };

  net::awaitable<Slot> take() { return take_from(state_); }

 private:
  static net::awaitable<Slot> take_from(std::shared_ptr<State> state) {
    const std::uint64_t ticket = state->tickets++;
    while (ticket >= state->given_back + state->count) co_await state->released.wait();
    co_return Slot(std::move(state));
  }

  std::shared_ptr<State> state_;
};

}  // namespace async
