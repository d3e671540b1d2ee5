// PollLoop: guest-init's one epoll loop. Everything runs on its thread.
//
// A Watch owns a registration and ends it when destroyed, also from inside its own handler or that
// of another Watch. The descriptor must outlive its Watch; the loop must outlive all Watches.
#pragma once

#include <sys/epoll.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace guest_init {

inline constexpr std::uint32_t kReadable = EPOLLIN;
inline constexpr std::uint32_t kWritable = EPOLLOUT;

class PollLoop {
 public:
  using Handler = std::function<void(std::uint32_t events)>;

  class Watch {
   public:
    Watch() = default;
    Watch(Watch&& other) noexcept { *this = std::move(other); }
    Watch& operator=(Watch&& other) noexcept;
    ~Watch() { reset(); }

    /// Waits for `events` from now on. With none the descriptor is not watched at all, so that a
    /// hung-up peer cannot keep the loop busy.
    void set_events(std::uint32_t events);
    void reset();
    explicit operator bool() const { return loop_ != nullptr; }

   private:
    friend class PollLoop;
    PollLoop* loop_ = nullptr;
    std::uint64_t id_ = 0;
  };

  static base::Result<std::unique_ptr<PollLoop>> create();

  /// Calls `handler` (level-triggered) while `events` are there on `fd`.
  base::Result<Watch> watch(int fd, std::uint32_t events, Handler handler);

  /// Waits at most `milliseconds` (-1: without end), and calls the handlers of what is ready.
  void run_once(int milliseconds = -1);

 private:
  struct Entry {
    int fd = -1;
    std::uint32_t events = 0;
    Handler handler;
  };

  explicit PollLoop(base::UniqueFd epoll) : epoll_(std::move(epoll)) {}
  void apply(std::uint64_t id, Entry& entry, std::uint32_t events);
  void remove(std::uint64_t id);

  base::UniqueFd epoll_;
  std::uint64_t next_id_ = 1;
  std::map<std::uint64_t, std::unique_ptr<Entry>> entries_;
  bool dispatching_ = false;
  std::vector<std::unique_ptr<Entry>> removed_;  // destroyed once no handler can be running
};

}  // namespace guest_init
