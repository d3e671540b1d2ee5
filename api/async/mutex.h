// Mutex: lets one coroutine at a time change something, across its suspensions.
//
// Threads: the io_context thread. The Mutex must outlive its locks (keep its owner alive).
#pragma once

#include <utility>

#include "api/async/net.h"
#include "api/async/notifier.h"

namespace async {

class Mutex {
 public:
  explicit Mutex(const net::any_io_executor& executor) : released_(executor) {}

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
    while (locked_) co_await released_.wait();
    locked_ = true;
    co_return Lock(this);
  }

 private:
  void unlock() {
    locked_ = false;
    released_.notify_all();
  }

  bool locked_ = false;
  Notifier released_;
};

}  // namespace async
