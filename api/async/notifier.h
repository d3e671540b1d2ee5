// Notifier: wakes the coroutines that wait for a change of state ("look again").
//
// Use: `while (!condition) co_await notifier.wait();` and notify_all() after every change. Nothing
// is lost: state and waiters live on one thread, and a waiter is registered before wait() suspends.
// Lifetime: a waiting coroutine must keep the Notifier alive (usually by a shared_ptr to its
// owner).
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <chrono>

#include "api/async/net.h"

namespace async {

class Notifier {
 public:
  explicit Notifier(const net::any_io_executor& executor)
      : timer_(executor, std::chrono::steady_clock::time_point::max()) {}

  /// Returns after the next notify_all().
  net::awaitable<void> wait() { co_await timer_.async_wait(kTuple); }

  void notify_all() { timer_.cancel(); }

 private:
  net::steady_timer timer_;
};

}  // namespace async
