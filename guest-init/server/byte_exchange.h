// ByteExchange: passes on what comes from each of two connected sockets to the other one, with
// half-closes and ends.
//
// Threads: the loop's, which outlives it. Memory: kBufferSize bytes for each direction in which
// bytes are under way; none while nothing is. A turn of the loop passes on one buffer of each.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

#include "guest-init/system/poll_loop.h"
#include "vmm/base/unique_fd.h"

namespace guest_init {

class ByteExchange {
 public:
  static constexpr std::size_t kBufferSize = 16u << 10;

  /// Both non-blocking. `on_end` is called once, on the loop, when nothing more can be passed on;
  /// it may destroy the exchange.
  static base::Result<std::unique_ptr<ByteExchange>> start(PollLoop& loop, base::UniqueFd near,
                                                           base::UniqueFd far,
                                                           std::function<void()> on_end);

 private:
  /// One direction: what was read of `from` and not written to `to` yet.
  struct Way {
    int from = -1;
    int to = -1;
    std::unique_ptr<std::byte[]> buffer;  // while bytes are in it
    std::size_t begin = 0;
    std::size_t end = 0;
    bool source_ended = false;
    bool over = false;

    bool wants_to_read() const { return !over && !source_ended && !buffer; }
    bool wants_to_write() const { return !over && buffer != nullptr; }
    void pass_on();
    void read_some();
    void write_some();
    void finish();
  };

  ByteExchange(base::UniqueFd near, base::UniqueFd far, std::function<void()> on_end);
  void on_events(bool near, std::uint32_t events);
  void update_watches();

  base::UniqueFd near_;
  base::UniqueFd far_;
  std::function<void()> on_end_;
  Way out_;  // near to far
  Way in_;
  PollLoop::Watch near_watch_;
  PollLoop::Watch far_watch_;
};

}  // namespace guest_init
