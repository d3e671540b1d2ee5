// Mutex: lets one coroutine at a time change something, across its suspensions, in the order they
// came.
//
// Threads: the io_context thread. The Mutex must outlive its locks and those who wait for one (keep
// its owner alive). A waiter may be cancelled.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <list>
#include <utility>

#include "api/async/net.h"

namespace async {

class Mutex {
 public:
  explicit Mutex(net::any_io_executor executor) : executor_(std::move(executor)) {}

  class [[nodiscard]] Lock {
   public:
    Lock(Lock&& other) noexcept : mutex_(std::exchange(other.mutex_, nullptr)) {}
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;
    ~Lock() { release(); }
    void release() {
      if (Mutex* const mutex = std::exchange(mutex_, nullptr)) mutex->unlock();
    }

   private:
    friend class Mutex;
    explicit Lock(Mutex* mutex) : mutex_(mutex) {}
    Mutex* mutex_;
  };

  net::awaitable<Lock> lock() {
    if (!locked_) {
      locked_ = true;
      co_return Lock(this);
    }
    Waiter waiter(*this);
    while (!waiter.granted) co_await waiter.woken.async_wait(kTuple);
    co_return waiter.take();
  }

 private:
  struct Waiter {
    explicit Waiter(Mutex& the_mutex)
        : mutex(the_mutex),
          woken(the_mutex.executor_, std::chrono::steady_clock::time_point::max()),
          place(mutex.waiters_.insert(mutex.waiters_.end(), this)) {}
    Waiter(const Waiter&) = delete;
    Waiter& operator=(const Waiter&) = delete;
    /// A waiter that was cancelled passes on what it was given.
    ~Waiter() {
      if (!granted) {
        mutex.waiters_.erase(place);
      } else if (!taken) {
        mutex.unlock();
      }
    }
    Lock take() {
      taken = true;
      return Lock(&mutex);
    }

    Mutex& mutex;
    net::steady_timer woken;
    std::list<Waiter*>::iterator place;
    bool granted = false;
    bool taken = false;
  };

  void unlock() {
    if (waiters_.empty()) {
      locked_ = false;
      return;
    }
    Waiter& next = *waiters_.front();
    waiters_.pop_front();
    next.granted = true;
    next.woken.cancel();
  }

  net::any_io_executor executor_;
  bool locked_ = false;
  std::list<Waiter*> waiters_;
};

}  // namespace async
