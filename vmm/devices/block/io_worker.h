// IoWorker: the one thread on which a machine's disks do what may wait (a read that is not in the
// page cache, a flush, a discard).
//
// Threading: start(), submit() and drain() on the device thread; `work` runs on the worker, `done`
// on the device thread again. Where start() was not called, the first submit() starts the thread,
// which a sandboxed device thread may not do.
// Ownership: the worker outlives the disks that use it; the loop outlives the worker.
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

  /// Starts the thread and blocks until `prepare`, which may be empty, has run on it. Returns the
  /// Error of `prepare`; there is no thread then. Does nothing if the thread is there.
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
