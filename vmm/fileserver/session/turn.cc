#include "vmm/fileserver/session/turn.h"

namespace fileserver {
namespace {

/// After so many looks at a server that does nothing, nobody looks any more.
constexpr int kQuietLooks = 50;

bool is_serving(std::uint64_t state) { return state % 2 == 1; }

}  // namespace

bool Turn::take() {
  std::unique_lock lock(mutex_);
  vacated_.wait(lock, [this] { return vacant_ || stopped_; });
  vacant_ = false;
  return !stopped_;
}

std::uint64_t Turn::begin() {
  const std::uint64_t begun = ++state_;
  if (!watched_) {
    const std::lock_guard lock(mutex_);
    watched_ = true;
    changed_.notify_one();
  }
  return begun;
}

bool Turn::end(std::uint64_t begun) { return state_.compare_exchange_strong(begun, begun + 1); }

void Turn::watch() {
  std::unique_lock lock(mutex_);
  std::uint64_t last = 0;
  int quiet = 0;
  while (!stopped_) {
    if (!watched_) {
      changed_.wait(lock, [this] { return watched_ || stopped_; });
      quiet = 0;
    }
    changed_.wait_for(lock, kLong, [this] { return stopped_; });
    const std::uint64_t now = state_;
    quiet = now == last ? quiet + 1 : 0;
    if (now == last) give_away_if_still(now);
    last = now;
    if (quiet < kQuietLooks) continue;
    watched_ = false;
    // A request that began before that was to be seen counts on being watched.
    if (state_ != now) watched_ = true;
  }
}

void Turn::give_away_if_still(std::uint64_t serving) {
  if (!is_serving(serving) || !state_.compare_exchange_strong(serving, serving + 1)) return;
  vacant_ = true;
  vacated_.notify_one();
}

void Turn::stop() {
  const std::lock_guard lock(mutex_);
  stopped_ = true;
  vacated_.notify_all();
  changed_.notify_all();
}

}  // namespace fileserver
