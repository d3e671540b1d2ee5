#include "vmm/base/event_loop.h"

#include <algorithm>
#include <array>

namespace base {

EventLoop::Watch::Watch(Watch&& other) noexcept
    : loop_(std::exchange(other.loop_, nullptr)), id_(other.id_), fd_(other.fd_) {}

EventLoop::Watch& EventLoop::Watch::operator=(Watch&& other) noexcept {
  if (this == &other) return *this;
  reset();
  loop_ = std::exchange(other.loop_, nullptr);
  id_ = other.id_;
  fd_ = other.fd_;
  return *this;
}

Result<void> EventLoop::Watch::set_events(std::uint32_t events) {
  if (!active()) return Error{Code::kConflict, "set_events on a Watch that watches nothing"};
  epoll_event event{.events = events, .data = {.u64 = id_}};
  if (::epoll_ctl(loop_->epoll_.get(), EPOLL_CTL_MOD, fd_, &event) != 0)
    return errno_error("epoll_ctl(MOD)");
  return {};
}

void EventLoop::Watch::reset() {
  if (!active()) return;
  ::epoll_ctl(loop_->epoll_.get(), EPOLL_CTL_DEL, fd_, nullptr);
  loop_->handlers_.erase(id_);
  loop_ = nullptr;
}

void EventLoop::Deferred::schedule() {
  if (std::exchange(scheduled_, true)) return;
  loop_.deferred_.push_back(this);
}

void EventLoop::Deferred::cancel() {
  if (!std::exchange(scheduled_, false)) return;
  std::erase(loop_.deferred_, this);
}

Result<std::unique_ptr<EventLoop>> EventLoop::create() {
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return errno_error("epoll_create1");
  Result<EventFd> wake = EventFd::create();
  if (!wake) return std::move(wake).error();
  epoll_event event{.events = EPOLLIN, .data = {.u64 = 0}};
  if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, wake->get(), &event) != 0)
    return errno_error("epoll_ctl(ADD)");
  return std::unique_ptr<EventLoop>(new EventLoop(std::move(epoll), *std::move(wake)));
}

Result<EventLoop::Watch> EventLoop::watch(int fd, std::uint32_t events, Handler handler) {
  const std::uint64_t id = next_id_++;
  epoll_event event{.events = events, .data = {.u64 = id}};
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0)
    return errno_error("epoll_ctl(ADD)");
  handlers_.emplace(id, std::make_shared<Handler>(std::move(handler)));
  return Watch(this, id, fd);
}

void EventLoop::post(std::function<void()> work) {
  {
    const std::lock_guard lock(posted_mutex_);
    posted_.push_back(std::move(work));
  }
  wake_.signal();
}

Result<void> EventLoop::run() {
  while (!stopped_.load()) RETURN_IF_ERROR(run_once(-1));
  return {};
}

Result<void> EventLoop::run_once(int timeout_ms) {
  std::array<epoll_event, 32> events;
  const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()),
                                 deferred_.empty() ? timeout_ms : 0);
  if (count < 0 && errno != EINTR) return errno_error("epoll_wait");
  for (int i = 0; i < count; ++i) {
    const epoll_event event = events[static_cast<std::size_t>(i)];
    const std::uint64_t id = event.data.u64;  // a copy: epoll_event is packed
    if (id == 0) {
      wake_.drain();
      run_posted();
      continue;
    }
    const auto found = handlers_.find(id);
    if (found == handlers_.end()) continue;  // an earlier handler ended this watch
    const std::shared_ptr<Handler> handler = found->second;
    (*handler)(event.events);
  }
  run_deferred();
  return {};
}

void EventLoop::stop() {
  stopped_.store(true);
  wake_.signal();
}

void EventLoop::run_posted() {
  std::vector<std::function<void()>> work;
  {
    const std::lock_guard lock(posted_mutex_);
    work.swap(posted_);
  }
  for (const auto& item : work) item();
}

void EventLoop::run_deferred() {
  // What is scheduled meanwhile waits for the next round. The front is removed before it runs, so
  // that it may schedule or destroy itself and others.
  for (std::size_t left = deferred_.size(); left > 0 && !deferred_.empty(); --left) {
    Deferred* const next = deferred_.front();
    deferred_.erase(deferred_.begin());
    next->scheduled_ = false;
    const auto work = next->work_;
    work();
  }
}

}  // namespace base
