// WorkQueue: a bounded number of threads for transfers that block for long.
//
// Tasks start in the order they were posted. The threads begin with the first tasks. The destructor
// forgets tasks that have not begun and waits for those that have: stop them before.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace registry {

class WorkQueue {
 public:
  explicit WorkQueue(std::size_t threads) : limit_(threads) {}
  ~WorkQueue();
  WorkQueue(const WorkQueue&) = delete;
  WorkQueue& operator=(const WorkQueue&) = delete;

  void post(std::function<void()> task);

 private:
  void work();

  const std::size_t limit_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;
  std::size_t idle_ = 0;
  bool ending_ = false;
  std::vector<std::jthread> threads_;
};

}  // namespace registry
