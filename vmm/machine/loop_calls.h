// LoopCalls: how vCPU threads get work done on the device thread, for as long as a machine lives.
//
// Threads: call() and post() from vCPU threads, close() from the device thread. Work is never run
// after close(), and nobody waits any more: the machine can be destroyed while posted work is still
// in the loop.
#pragma once

#include <functional>
#include <memory>

#include "vmm/base/event_loop.h"

namespace machine {

class LoopCalls {
 public:
  explicit LoopCalls(base::EventLoop& loop);
  ~LoopCalls() { close(); }
  LoopCalls(const LoopCalls&) = delete;
  LoopCalls& operator=(const LoopCalls&) = delete;

  /// Runs `work` on the device thread and waits for it. It may find itself not run, if closed.
  void call(std::function<void()> work);

  /// As call(), without waiting. In the order of posting.
  void post(std::function<void()> work);

  void close();

 private:
  struct Shared;

  base::EventLoop& loop_;
  std::shared_ptr<Shared> shared_;
};

}  // namespace machine
