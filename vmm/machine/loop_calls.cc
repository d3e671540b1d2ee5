#include "vmm/machine/loop_calls.h"

#include <condition_variable>
#include <mutex>

namespace machine {

struct LoopCalls::Shared {
  std::mutex mutex;
  std::condition_variable finished;
  bool open = true;  // written under mutex, on the device thread
};

LoopCalls::LoopCalls(base::EventLoop& loop) : loop_(loop), shared_(std::make_shared<Shared>()) {}

void LoopCalls::call(std::function<void()> work) {
  // Both sides own the flag: whichever is last frees it.
  const auto done = std::make_shared<bool>(false);
  loop_.post([shared = shared_, done, work = std::move(work)] {
    if (!shared->open) return;  // only this thread writes it
    work();
    {
      const std::lock_guard lock(shared->mutex);
      *done = true;
    }
    shared->finished.notify_all();
  });
  std::unique_lock lock(shared_->mutex);
  shared_->finished.wait(lock, [&] { return *done || !shared_->open; });
}

void LoopCalls::post(std::function<void()> work) {
  loop_.post([shared = shared_, work = std::move(work)] {
    if (shared->open) work();
  });
}

void LoopCalls::close() {
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->open = false;
  }
  shared_->finished.notify_all();
}

}  // namespace machine
