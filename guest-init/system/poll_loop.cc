#include "guest-init/system/poll_loop.h"

#include <array>

namespace guest_init {

PollLoop::Watch& PollLoop::Watch::operator=(Watch&& other) noexcept {
  if (this == &other) return *this;
  reset();
  loop_ = std::exchange(other.loop_, nullptr);
  id_ = other.id_;
  return *this;
}

void PollLoop::Watch::set_events(std::uint32_t events) {
  if (loop_ == nullptr) return;
  loop_->apply(id_, *loop_->entries_.at(id_), events);
}

void PollLoop::Watch::reset() {
  if (PollLoop* loop = std::exchange(loop_, nullptr)) loop->remove(id_);
}

base::Result<std::unique_ptr<PollLoop>> PollLoop::create() {
  base::UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return base::errno_error("epoll_create1");
  return std::unique_ptr<PollLoop>(new PollLoop(std::move(epoll)));
}

base::Result<PollLoop::Watch> PollLoop::watch(int fd, std::uint32_t events, Handler handler) {
  const std::uint64_t id = next_id_++;
  epoll_event event{.events = events, .data = {.u64 = id}};
  if (events != 0 && epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0)
    return base::errno_error("epoll_ctl");
  entries_[id] = std::make_unique<Entry>(Entry{fd, events, std::move(handler)});
  Watch watch;
  watch.loop_ = this;
  watch.id_ = id;
  return watch;
}

void PollLoop::apply(std::uint64_t id, Entry& entry, std::uint32_t events) {
  if (events == entry.events) return;
  const int operation = entry.events == 0 ? EPOLL_CTL_ADD
                        : events == 0     ? EPOLL_CTL_DEL
                                          : EPOLL_CTL_MOD;
  epoll_event event{.events = events, .data = {.u64 = id}};
  if (epoll_ctl(epoll_.get(), operation, entry.fd, &event) == 0) entry.events = events;
}

void PollLoop::remove(std::uint64_t id) {
  const auto found = entries_.find(id);
  if (found == entries_.end()) return;
  apply(id, *found->second, 0);
  if (dispatching_) removed_.push_back(std::move(found->second));
  entries_.erase(found);
}

void PollLoop::run_once(int milliseconds) {
  std::array<epoll_event, 16> events;
  const int count =
      epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), milliseconds);
  dispatching_ = true;
  for (int i = 0; i < count; ++i) {
    const epoll_event event = events[static_cast<std::size_t>(i)];
    const std::uint64_t id = event.data.u64;  // a copy: epoll_event is packed
    const auto found = entries_.find(id);
    // A handler called before this one may have ended or paused the watch.
    if (found != entries_.end() && found->second->events != 0) found->second->handler(event.events);
  }
  dispatching_ = false;
  removed_.clear();
}

}  // namespace guest_init
