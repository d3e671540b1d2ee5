// IoWorker: the one thread on which a machine's disks do what may wait (a read that is not in the
// page cache, a flush, a discard).
//
// Threading: start(), submit() and drain() on the device thread; `work` runs on the worker, `done`
// on the device thread again. Without start() the first submit() starts the thread; a sandbox in
// which the device thread may not do that needs start().
// Ownership: outlives the disks that use it; the loop outlives it.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "vmm/base/event_loop.h"

namespace devices {

class IoWorker {
 public:
  struct Task {
    std::function<void()> work;
    std::function<void()> done;
  };

  static base::Result<std::unique_ptr<IoWorker>> create(base::EventLoop& loop);
  ~IoWorker();
  IoWorker(const IoWorker&) = delete;
  IoWorker& operator=(const IoWorker&) = delete;

  /// Starts the thread, on which `prepare` (may be empty) runs first; blocks until it has. An Error
  /// of `prepare` is returned, and there is no thread then.
  base::Result<void> start(const std::function<base::Result<void>()>& prepare);

  /// Queues a task. Tasks run one after another, in order.
  void submit(Task task);

  /// Waits until all submitted work has run, and calls the `done` of each.
  void drain();

 private:
  explicit IoWorker(base::EventFd finished) : finished_event_(std::move(finished)) {}

  void run();
  void call_finished();

  base::EventFd finished_event_;
  base::EventLoop::Watch watch_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Task> queued_;    // guarded by mutex_
  std::deque<Task> finished_;  // guarded by mutex_
  bool busy_ = false;          // guarded by mutex_
  bool stopping_ = false;      // guarded by mutex_
  std::thread thread_;
};

}  // namespace devices
