// EventLoop: one thread that waits for descriptors (epoll(7)) and calls their handlers.
//
// Ownership: whoever watches a descriptor keeps it open for as long as the Watch lives. A Watch or
// Deferred must not outlive its loop; both may be destroyed inside any handler, their own too.
// Threading: everything is called on the thread that runs the loop (or before it runs), except
// post() and stop(), which any thread may call.
#pragma once

#include <sys/epoll.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "vmm/base/event_fd.h"
#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace base {

class EventLoop {
 public:
  /// Gets the epoll events that are pending (EPOLLIN, EPOLLHUP, ...).
  using Handler = std::function<void(std::uint32_t events)>;

  /// The registration of one descriptor; destroying it ends the registration.
  class Watch {
   public:
    Watch() = default;
    Watch(Watch&& other) noexcept;
    Watch& operator=(Watch&& other) noexcept;
    ~Watch() { reset(); }

    bool active() const { return loop_ != nullptr; }
    /// Changes the awaited events.
    Result<void> set_events(std::uint32_t events);
    void reset();

   private:
    friend class EventLoop;
    Watch(EventLoop* loop, std::uint64_t id, int fd) : loop_(loop), id_(id), fd_(fd) {}

    EventLoop* loop_ = nullptr;
    std::uint64_t id_ = 0;
    int fd_ = -1;
  };

  /// Work that a handler puts off, so that others get their turn: runs once per schedule(), after
  /// the descriptors that are ready now. Costs no system call.
  class Deferred {
   public:
    Deferred(EventLoop& loop, std::function<void()> work) : loop_(loop), work_(std::move(work)) {}
    Deferred(const Deferred&) = delete;
    Deferred& operator=(const Deferred&) = delete;
    ~Deferred() { cancel(); }

    void schedule();
    void cancel();

   private:
    friend class EventLoop;
    EventLoop& loop_;
    std::function<void()> work_;
    bool scheduled_ = false;
  };

  static Result<std::unique_ptr<EventLoop>> create();
  ~EventLoop() = default;
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  /// Calls `handler` whenever one of `events` is pending; with EPOLLET, once per change.
  Result<Watch> watch(int fd, std::uint32_t events, Handler handler);

  /// Any thread: runs `work` on the loop's thread, in the order posted.
  void post(std::function<void()> work);

  /// Handles events until stop().
  Result<void> run();

  /// Waits at most `timeout_ms` (-1: for ever, 0: not at all) and handles what is ready.
  Result<void> run_once(int timeout_ms);

  /// Any thread: makes run() return.
  void stop();

 private:
  EventLoop(UniqueFd epoll, EventFd wake) : epoll_(std::move(epoll)), wake_(std::move(wake)) {}

  void run_posted();
  void run_deferred();

  UniqueFd epoll_;
  EventFd wake_;
  std::uint64_t next_id_ = 1;  // 0 is wake_
  std::unordered_map<std::uint64_t, std::shared_ptr<Handler>> handlers_;
  std::vector<Deferred*> deferred_;
  std::atomic<bool> stopped_ = false;
  std::mutex posted_mutex_;
  std::vector<std::function<void()>> posted_;  // guarded by posted_mutex_
};

}  // namespace base
