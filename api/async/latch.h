// Latch and Reply<T>: how one coroutine waits for something that another one does once.
//
// Threads: one io_context thread; set() never resumes anybody inside itself. Both are handles to
// shared state: a waiter stays valid when the object it waited on is destroyed meanwhile.
// Cancellation: a wait() that is cancelled throws operation_aborted, as every co_await after it
// would; a wait_for() that is cancelled looks like one that timed out.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "api/async/net.h"

namespace async {

/// An event that happens once. Whoever waits for it then, or comes later, goes on.
class Latch {
 public:
  explicit Latch(net::any_io_executor executor)
      : state_(std::make_shared<State>(State{std::move(executor), false, {}})) {}

  bool is_set() const { return state_->set; }

  void set() {
    state_->set = true;
    for (net::steady_timer* waiter : std::exchange(state_->waiters, {})) waiter->cancel();
  }

  net::awaitable<void> wait() const { return wait_without_end(state_); }

  /// False if `timeout` passed first.
  net::awaitable<bool> wait_for(std::chrono::milliseconds timeout) const {
    return wait_until(state_, std::chrono::steady_clock::now() + timeout);
  }

 private:
  struct State {
    net::any_io_executor executor;
    bool set;
    std::vector<net::steady_timer*> waiters;
  };

  static net::awaitable<void> wait_without_end(std::shared_ptr<State> state) {
    const bool set = co_await wait_until(state, std::chrono::steady_clock::time_point::max());
    if (!set) throw boost::system::system_error(net::error::operation_aborted);
  }

  static net::awaitable<bool> wait_until(std::shared_ptr<State> state,
                                         std::chrono::steady_clock::time_point deadline) {
    if (state->set) co_return true;
    net::steady_timer timer(state->executor, deadline);
    state->waiters.push_back(&timer);
    co_await timer.async_wait(kTuple);
    std::erase(state->waiters, &timer);
    co_return state->set;
  }

  std::shared_ptr<State> state_;
};

/// A value that arrives once.
template <typename T>
class Reply {
 public:
  explicit Reply(net::any_io_executor executor)
      : latch_(std::move(executor)), value_(std::make_shared<std::optional<T>>()) {}

  bool has_value() const { return value_->has_value(); }

  /// Only the first value counts.
  void set(T value) {
    if (has_value()) return;
    value_->emplace(std::move(value));
    latch_.set();
  }

  net::awaitable<T> wait() const { return wait_for_value(latch_, value_); }

  /// The value, or nullopt after `timeout`.
  net::awaitable<std::optional<T>> wait_for(std::chrono::milliseconds timeout) const {
    return wait_for_value_until(latch_, value_, timeout);
  }

 private:
  static net::awaitable<T> wait_for_value(Latch latch, std::shared_ptr<std::optional<T>> value) {
    co_await latch.wait();
    co_return **value;
  }
  static net::awaitable<std::optional<T>> wait_for_value_until(
      Latch latch, std::shared_ptr<std::optional<T>> value, std::chrono::milliseconds timeout) {
    co_await latch.wait_for(timeout);
    co_return *value;
  }

  Latch latch_;
  std::shared_ptr<std::optional<T>> value_;
};

}  // namespace async
