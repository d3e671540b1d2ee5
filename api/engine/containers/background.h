// Background: owns the tasks that containers need beside the requests, and says whether the daemon
// is ending, which all of them heed.
//
// Threads: the io_context thread. It must outlive its tasks: co_await drained() before it is
// destroyed, unless the process ends with it.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "api/async/mutex.h"
#include "api/async/net.h"
#include "api/async/task_group.h"

namespace engine {

class Background {
 public:
  explicit Background(net::any_io_executor executor) : tasks_(std::move(executor)) {}

  /// Starts `task`; `what` names it in the log should it throw.
  void spawn(std::string what, net::awaitable<void> task) {
    tasks_.spawn(std::move(what), std::move(task));
  }
  /// Completes when no task runs.
  net::awaitable<void> drained() { return tasks_.drained(); }

  /// From now on nothing starts any more, and no restart policy acts.
  void begin_end() { ending_ = true; }
  bool ending() const { return ending_; }
  /// Keeps `lock` for good: nobody gets what it guards any more.
  void keep(async::Mutex::Lock lock) { kept_.push_back(std::move(lock)); }

 private:
  bool ending_ = false;
  std::vector<async::Mutex::Lock> kept_;
  async::TaskGroup tasks_;
};

}  // namespace engine
