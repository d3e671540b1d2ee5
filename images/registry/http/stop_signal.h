// StopSignal: a std::stop_token as a descriptor that poll() can wait for, so that a wait for the
// network ends at once.
//
// Threads: made and destroyed on one thread, used on that thread; the stop may come from any.
#pragma once

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <stop_token>

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace registry {

class StopSignal {
 public:
  explicit StopSignal(std::stop_token token)
      : token_(std::move(token)),
        event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        callback_(token_, [fd = event_.get()] {
          const std::uint64_t one = 1;
          // It cannot fail before 2^64 stops; without a descriptor the next look at the token
          // tells.
          if (::write(fd, &one, sizeof one) < 0) return;
        }) {}
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  bool requested() const { return token_.stop_requested(); }
  const std::stop_token& token() const { return token_; }
  /// Becomes readable with the stop. -1 (which poll() passes over) when there are no descriptors.
  int fd() const { return event_.get(); }

  /// Waits for `time`, or until the stop.
  void sleep(std::chrono::milliseconds time) const {
    pollfd wait{.fd = fd(), .events = POLLIN, .revents = 0};
    (void)::poll(&wait, 1, static_cast<int>(time.count()));
  }

 private:
  const std::stop_token token_;
  const base::UniqueFd event_;
  const std::stop_callback<std::function<void()>> callback_;
};

/// Go's words, which Docker's clients know.
inline base::Error stopped_error() { return {base::Code::kUnavailable, "context canceled"}; }

}  // namespace registry
