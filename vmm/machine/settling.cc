#include "vmm/machine/settling.h"

#include <sys/timerfd.h>

namespace machine {

Settling::Settling(base::UniqueFd timer, std::function<std::uint64_t()> activity,
                   std::function<void()> done)
    : timer_(std::move(timer)),
      activity_(std::move(activity)),
      done_(std::move(done)),
      last_(activity_()) {}

base::Result<std::unique_ptr<Settling>> Settling::start(base::EventLoop& loop,
                                                        std::function<std::uint64_t()> activity,
                                                        std::function<void()> done) {
  base::UniqueFd timer(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!timer) return base::errno_error("timerfd_create");
  const timespec tick{0, std::chrono::nanoseconds(kTick).count()};
  const itimerspec schedule{tick, tick};
  if (::timerfd_settime(timer.get(), 0, &schedule, nullptr) != 0)
    return base::errno_error("timerfd_settime");
  std::unique_ptr<Settling> settling(
      new Settling(std::move(timer), std::move(activity), std::move(done)));
  Settling* const self = settling.get();
  auto watch = loop.watch(self->timer_.get(), EPOLLIN, [self](auto) { self->on_tick(); });
  if (!watch) return watch.error();
  self->watch_ = *std::move(watch);
  return settling;
}

void Settling::on_tick() {
  std::uint64_t ticks = 0;
  if (::read(timer_.get(), &ticks, sizeof ticks) != sizeof ticks) return;
  const std::uint64_t now = activity_();
  quiet_ = now == last_ ? quiet_ + kTick : std::chrono::milliseconds(0);
  last_ = now;
  total_ += kTick;
  if (quiet_ < kQuiet && total_ < kAtMost) return;
  watch_.reset();
  std::exchange(done_, nullptr)();  // may destroy this
}

}  // namespace machine
