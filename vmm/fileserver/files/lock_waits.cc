#include "vmm/fileserver/files/lock_waits.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "vmm/fileserver/files/limits.h"

namespace fileserver {
namespace {

constexpr std::chrono::milliseconds kFirstPause{1};
constexpr std::chrono::milliseconds kLongestPause{50};

}  // namespace

std::uint64_t LockWaits::interruptions() {
  const std::lock_guard lock(mutex_);
  return interruptions_;
}

bool LockWaits::add(Wait wait, std::uint64_t since) {
  const std::lock_guard lock(mutex_);
  if (count_ >= kMostWaitingLocks) return false;
  ++count_;
  waiting_.push_back({std::move(wait), since, kFirstPause, Clock::now() + kFirstPause});
  changed_.notify_one();
  return true;
}

void LockWaits::poke() {
  const std::lock_guard lock(mutex_);
  if (count_ == 0) return;
  poked_ = true;
  changed_.notify_one();
}

void LockWaits::interrupt() {
  const std::lock_guard lock(mutex_);
  ++interruptions_;
  poked_ = true;
  changed_.notify_one();
}

void LockWaits::stop() {
  const std::lock_guard lock(mutex_);
  stopped_ = true;
  changed_.notify_one();
}

void LockWaits::wait_for_work(std::unique_lock<std::mutex>& lock) {
  if (waiting_.empty()) {
    changed_.wait(lock, [this] { return stopped_ || !waiting_.empty(); });
    return;
  }
  const auto first = std::min_element(waiting_.begin(), waiting_.end(),
                                      [](const auto& a, const auto& b) { return a.due < b.due; });
  const Clock::time_point due = first->due;
  if (!poked_ && !stopped_) changed_.wait_until(lock, due);  // one that comes meanwhile wakes it
}

LockWaits::List LockWaits::take_due() {
  List due;
  const bool all = std::exchange(poked_, false);
  const Clock::time_point now = Clock::now();
  for (auto it = waiting_.begin(); it != waiting_.end();) {
    const auto next = std::next(it);
    if (all || it->due <= now) due.splice(due.end(), waiting_, it);
    it = next;
  }
  return due;
}

bool LockWaits::is_interrupted(const Waiting& waiting) {
  const std::lock_guard lock(mutex_);
  return waiting.interruption != interruptions_ || waiting.wait.tree->removed;
}

LockWaits::List LockWaits::try_all(List due) {
  List still;
  while (!due.empty()) {
    Waiting& waiting = due.front();
    const int error = is_interrupted(waiting) ? EINTR : waiting.wait.attempt();
    if (error == EAGAIN) {
      waiting.pause = std::min<Clock::duration>(waiting.pause * 2, kLongestPause);
      waiting.due = Clock::now() + waiting.pause;
      still.splice(still.end(), due, due.begin());
      continue;
    }
    waiting.wait.answer(error);
    due.pop_front();
  }
  return still;
}

void LockWaits::run() {
  std::unique_lock lock(mutex_);
  while (!stopped_) {
    wait_for_work(lock);
    if (stopped_) break;
    List due = take_due();
    const std::size_t tried = due.size();
    lock.unlock();
    List still = try_all(std::move(due));
    lock.lock();
    count_ -= tried - still.size();
    waiting_.splice(waiting_.end(), still);
  }
  for (Waiting& waiting : waiting_) waiting.wait.answer(EINTR);
  waiting_.clear();
}

}  // namespace fileserver
