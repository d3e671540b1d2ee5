// PendingOutput: what a guest has written to its serial port, on the way from the vCPU threads to
// the console, which the device thread keeps.
//
// Threads: any. Trust: the guest chooses how much and how fast it writes, and may keep the device
// thread busy with other things. So at most kMostBytes wait, the last ones; the console keeps no
// more.
#pragma once

#include <mutex>
#include <string>
#include <string_view>
#include <utility>

namespace machine {

class PendingOutput {
 public:
  static constexpr std::size_t kMostBytes = 16u << 10;

  /// Adds `text`. True if nothing was waiting: the caller must then arrange that take() is called.
  [[nodiscard]] bool add(std::string_view text) {
    const std::lock_guard lock(mutex_);
    const bool first = text_.empty();
    text_ += text;
    if (text_.size() > kMostBytes) text_.erase(0, text_.size() - kMostBytes);
    return first && !text_.empty();
  }
  /// Removes and returns all that waits, oldest first.
  std::string take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(text_, {});
  }

 private:
  std::mutex mutex_;
  std::string text_;  // guarded by mutex_
};

}  // namespace machine
