// BlockingPool: threads for calls that block (image store, copying, hashing), awaited from the
// io_context thread.
//
// The callable runs on a pool thread and must not touch state of the io_context thread; whatever it
// refers to must live until it has run, even when the awaiting coroutine is cancelled (take
// copies). The destructor waits for the calls that run. Threads are started when they are needed,
// up to the number given; calls beyond that wait for one to become free, in their order.
#pragma once

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "api/async/net.h"
#include "api/async/shield.h"

namespace async {

class BlockingPool {
 public:
  /// `nice`: how far the threads stand back for others, see setpriority(2).
  explicit BlockingPool(std::size_t threads, int nice = 0)
      : most_(threads), nice_(nice), started_(std::min(threads, kFirstThreads)), pool_(started_) {}
  ~BlockingPool() {
    pool_.join();
    for (std::thread& thread : more_) thread.join();
  }
  BlockingPool(const BlockingPool&) = delete;
  BlockingPool& operator=(const BlockingPool&) = delete;

  /// Runs `call()` on a pool thread and returns its result to the caller's executor. Give the
  /// callable a name first: gcc 12 destroys a lambda written into the co_await twice.
  template <typename T>
  net::awaitable<T> run(std::function<T()> call) {
    // Asio wants to default-construct what a coroutine returns, which a Result cannot be.
    const auto result = std::make_shared<std::optional<T>>();
    if (++busy_ > started_ && started_ < most_) start_thread();
    // The awaiting frame is not destroyed before the call ends: no cancellation reaches it.
    co_await net::co_spawn(
        pool_, invoke<T>(std::move(call), result, nice_),
        net::bind_cancellation_slot(net::cancellation_slot(), net::use_awaitable));
    --busy_;
    co_return std::move(**result);
  }

  /// As run(), for a call that can be ended early: it is told to stop when the awaiting coroutine
  /// is cancelled, and is still waited for. Nobody gets its result then.
  template <typename T>
  net::awaitable<T> run_stoppable(std::function<T(std::stop_token)> call) {
    const std::stop_source stop;
    std::function<T()> bound = [call = std::move(call), token = stop.get_token()] {
      return call(token);
    };
    co_await stop_when_cancelled(stop);
    co_return co_await run(std::move(bound));
  }

 private:
  /// A pool that is constructed with one thread takes it for granted that no second one will come.
  static constexpr std::size_t kFirstThreads = 2;

  void start_thread() {
    try {
      more_.emplace_back([this] { pool_.attach(); });
      ++started_;
    } catch (const std::system_error&) {
      // The system gives no further thread: the call waits for one of those that run.
    }
  }

  /// Sets the nice value of the calling thread of the pool. Linux keeps one for each thread.
  static void stand_back(int nice) {
    thread_local int given = 0;
    if (std::exchange(given, nice) != nice)
      ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), nice);
  }

  template <typename T>
  static net::awaitable<void> invoke(std::function<T()> call,
                                     std::shared_ptr<std::optional<T>> result, int nice) {
    stand_back(nice);
    result->emplace(call());
    co_return;
  }

  const std::size_t most_;
  const int nice_;
  std::size_t started_;
  std::size_t busy_ = 0;  // calls that run or wait
  net::thread_pool pool_;
  std::vector<std::thread> more_;
};

}  // namespace async
