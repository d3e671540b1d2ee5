// LoopCalls: how vCPU threads get work done on the device thread, for as long as a machine lives.
//
// Threads: call() from vCPU threads, post() from any, close() from the device thread. After close()
// no work is run and nobody waits any more, so the machine can be destroyed while posted work is
// still in the loop.
// Ownership: the loop outlives it.
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

  /// Runs `work` on the device thread and waits for it. Returns without having run it if close()
  /// comes first. On the device thread itself it would wait for ever.
  void call(std::function<void()> work);

  /// Runs `work` on the device thread, without waiting for it, in the order of posting.
  void post(std::function<void()> work);

  /// Drops what has not run and lets all callers go.
  void close();

 private:
  struct Shared;

  base::EventLoop& loop_;
  std::shared_ptr<Shared> shared_;
};

}  // namespace machine
