#include "vmm/devices/block/io_worker.h"

#include <sys/prctl.h>

#include <optional>

namespace devices {

base::Result<std::unique_ptr<IoWorker>> IoWorker::create(base::EventLoop& loop) {
  auto finished = base::EventFd::create();
  if (!finished) return std::move(finished).error();
  std::unique_ptr<IoWorker> worker(new IoWorker(*std::move(finished)));
  auto watch = loop.watch(worker->finished_event_.get(), EPOLLIN,
                          [self = worker.get()](std::uint32_t) { self->call_finished(); });
  if (!watch) return std::move(watch).error();
  worker->watch_ = *std::move(watch);
  return worker;
}

IoWorker::~IoWorker() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

base::Result<void> IoWorker::start(const std::function<base::Result<void>()>& prepare) {
  if (thread_.joinable()) return {};
  std::optional<base::Result<void>> prepared;
  thread_ = std::thread([this, &prepare, &prepared] {
    ::prctl(PR_SET_NAME, "disk");
    auto result = prepare ? prepare() : base::Result<void>();
    const bool ready = result.has_value();
    {
      const std::lock_guard lock(mutex_);
      prepared = std::move(result);
    }
    changed_.notify_all();
    if (ready) run();
  });
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return prepared.has_value(); });
  }
  if (!*prepared) thread_.join();
  return *std::move(prepared);
}

void IoWorker::submit(Task task) {
  [[maybe_unused]] const auto started = start({});  // fails only if `prepare` does: there is none
  {
    const std::lock_guard lock(mutex_);
    queued_.push_back(std::move(task));
  }
  changed_.notify_all();
}

void IoWorker::drain() {
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return queued_.empty() && !busy_; });
  }
  call_finished();
}

void IoWorker::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stopping_ || !queued_.empty(); });
    if (queued_.empty()) return;  // stopping, and all work is done
    Task task = std::move(queued_.front());
    queued_.pop_front();
    busy_ = true;
    lock.unlock();
    task.work();
    lock.lock();
    busy_ = false;
    const bool first = finished_.empty();
    finished_.push_back(std::move(task));
    if (first) finished_event_.signal();
    if (queued_.empty()) changed_.notify_all();
  }
}

void IoWorker::call_finished() {
  std::deque<Task> finished;
  {
    const std::lock_guard lock(mutex_);
    finished_event_.drain();
    finished.swap(finished_);
  }
  for (Task& task : finished) task.done();
}

}  // namespace devices
