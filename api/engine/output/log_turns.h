// LogTurns: gives the work on one log its turns, one at a time, and says which pool does it.
//
// A log that has used up its allowance has its turns on the pool whose threads stand back for
// others, until some of the allowance has come back.
// Threads: the io_context thread. It outlives its turns.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "api/async/blocking_pool.h"
#include "api/async/mutex.h"
#include "api/async/net.h"

namespace engine {

/// The pools on which logs have their turns; both outlive all logs.
struct LogPools {
  async::BlockingPool& prompt;
  async::BlockingPool& bulk;
};

class LogTurns {
 public:
  LogTurns(net::any_io_executor executor, LogPools pools)
      : pools_(pools), mutex_(std::move(executor)) {}

  /// Waits for the log's next turn, which is the caller's for as long as it holds the lock.
  net::awaitable<async::Mutex::Lock> next() { return mutex_.lock(); }

  /// The pool for the turn that begins now.
  async::BlockingPool& pool();
  /// The pool for turns beyond the allowance, and for work that needs no turn.
  async::BlockingPool& bulk() { return pools_.bulk; }
  /// Takes what a turn has written from the allowance.
  void use_allowance(std::size_t bytes);

 private:
  /// How many bytes a log may write before its turns go to `bulk`, and how many a second come back.
  static constexpr std::int64_t kAllowance = 1 << 20;
  static constexpr std::int64_t kAllowancePerSecond = 256 << 10;

  LogPools pools_;
  async::Mutex mutex_;
  std::int64_t allowance_ = kAllowance;
  std::chrono::steady_clock::time_point allowed_at_{};
};

}  // namespace engine
