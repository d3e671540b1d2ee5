// EventFd: a counter that one side signals and another waits for with poll (eventfd(2)).
// Threads: any may call signal() and drain().
#pragma once

#include <sys/eventfd.h>

#include <cstdint>

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace base {

class EventFd {
 public:
  static Result<EventFd> create() {
    UniqueFd fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!fd) return errno_error("eventfd");
    return EventFd(std::move(fd));
  }

  int get() const { return fd_.get(); }

  /// Makes the descriptor readable. That fails only if the counter is full, and then the descriptor
  /// is readable already.
  void signal() const {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(fd_.get(), &one, sizeof one);
  }

  /// Makes the descriptor unreadable again; returns whether it had been signalled.
  bool drain() const {
    std::uint64_t count = 0;
    return ::read(fd_.get(), &count, sizeof count) == sizeof count;
  }

 private:
  explicit EventFd(UniqueFd fd) : fd_(std::move(fd)) {}

  UniqueFd fd_;
};

}  // namespace base
