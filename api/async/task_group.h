// TaskGroup: owns coroutines that run beside their creator, so that none is forgotten.
//
// Threads: the io_context thread. The group must outlive its tasks: co_await drained() before it is
// destroyed.
#pragma once

#include <spdlog/spdlog.h>

#include <boost/asio/co_spawn.hpp>
#include <cstddef>
#include <exception>
#include <string>
#include <utility>

#include "api/async/net.h"
#include "api/async/notifier.h"

namespace async {

class TaskGroup {
 public:
  explicit TaskGroup(net::any_io_executor executor) : executor_(executor), ended_(executor) {}

  /// Starts `task`; `what` names it in the log should it throw.
  void spawn(std::string what, net::awaitable<void> task) {
    ++running_;
    net::co_spawn(executor_, std::move(task),
                  [this, what = std::move(what)](const std::exception_ptr& failure) {
                    --running_;
                    ended_.notify_all();
                    if (failure) log_failure(what, failure);
                  });
  }

  std::size_t running() const { return running_; }

  /// Completes when no task runs.
  net::awaitable<void> drained() {
    while (running_ > 0) co_await ended_.wait();
  }

 private:
  static void log_failure(const std::string& what, const std::exception_ptr& failure) {
    try {
      std::rethrow_exception(failure);
    } catch (const std::exception& error) {
      spdlog::error("{}: {}", what, error.what());
    }
  }

  net::any_io_executor executor_;
  std::size_t running_ = 0;
  Notifier ended_;
};

}  // namespace async
