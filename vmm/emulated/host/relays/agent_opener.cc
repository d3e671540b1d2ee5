#include "vmm/emulated/host/relays/agent_opener.h"

#include <chrono>

#include "vmm/base/scope_exit.h"

namespace emulated {
namespace {

constexpr int kAttempts = 6;
constexpr auto kPause = std::chrono::milliseconds(50);

/// One after the other, in the order in which they came: who opens one connection after another
/// must not keep the others from theirs, as with a mutex.
class Turns {
 public:
  void take() {
    std::unique_lock lock(mutex_);
    const std::uint64_t mine = next_++;
    changed_.wait(lock, [&] { return current_ == mine; });
  }
  void give_back() {
    {
      const std::lock_guard lock(mutex_);
      ++current_;
    }
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t next_ = 0;
  std::uint64_t current_ = 0;
};

}  // namespace

base::Result<base::UniqueFd> open_inside(const Endpoint& endpoint, const wire::Bytes& request,
                                         Deadline deadline) {
  static Turns turns;
  for (int attempt = 1;; ++attempt) {
    auto inside = [&] {
      turns.take();
      const base::ScopeExit leave([] { turns.give_back(); });
      return open_connection(endpoint, request, deadline);
    }();
    const bool again = !inside && inside.error().code == base::Code::kUnavailable;
    if (!again || attempt == kAttempts) return inside;
    std::this_thread::sleep_for(kPause * attempt);
  }
}

AgentOpener::AgentOpener(Endpoint endpoint, std::size_t most)
    : endpoint_(endpoint), most_(most), opener_([this](std::stop_token stop) { run(stop); }) {}

AgentOpener::~AgentOpener() {
  opener_.request_stop();
  opener_.join();
}

bool AgentOpener::open(wire::Bytes request, Done done) {
  {
    const std::lock_guard lock(mutex_);
    if (waiting_.size() >= most_) return false;
    waiting_.push_back({.request = std::move(request), .done = std::move(done)});
  }
  changed_.notify_one();
  return true;
}

void AgentOpener::run(std::stop_token stop) {
  for (;;) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, stop, [this] { return !waiting_.empty(); });
    if (stop.stop_requested()) return;
    const Job job = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    job.done(open_inside(endpoint_, job.request, std::chrono::steady_clock::now() + kTimeout));
  }
}

}  // namespace emulated
