// OutputStream: carries what a process writes (a pipe or terminal) to the host, and keeps what the
// host has not acknowledged, so that a host that comes back misses nothing.
//
// Flow control: when the replay buffer is full, nothing is read from the process until the host
// acknowledges; the process then blocks in write(2). Runs on the loop's thread.
//
// The kernel splits one write to a terminal into pieces ("text", then "\r\n"), as it puts in the
// carriage returns, and many clients take each piece that arrives for a line. So after a piece of a
// terminal's output this waits a moment (2 ms, a few times) for the next, and sends them together.
#pragma once

#include <array>
#include <cstdint>
#include <functional>

#include "guest-init/process/replay_buffer.h"
#include "guest-init/system/poll_loop.h"
#include "vmm/base/unique_fd.h"

namespace guest_init {

class OutputStream {
 public:
  /// `source`: non-blocking. `on_end` is called once, when everything was read into the buffer; it
  /// must not destroy this object.
  OutputStream(PollLoop& loop, base::UniqueFd source, std::function<void()> on_end);

  /// Starts reading from the process.
  base::Result<void> start();

  /// Takes the host's connection in place of an earlier one. `offset`: the position in the stream
  /// from which the host wants to have it. A connection is closed, and the earlier one stays, if
  /// those bytes were acknowledged, and so are gone, or were never produced.
  void attach(base::UniqueFd connection, std::uint64_t offset);

  /// The process is gone: reads what it wrote. Others may still hold the stream open: with `cut` it
  /// ends now and what they write later is thrown away, else it ends when they close it.
  void process_exited(bool cut);

  bool ended() const { return ended_; }
  std::uint64_t length() const { return buffer_.end(); }
  std::uint64_t acknowledged() const { return buffer_.acknowledged(); }

 private:
  /// The host's connection, and how far it is.
  struct Connection {
    base::UniqueFd fd;
    std::uint64_t sent = 0;
    bool finished = false;  // half-closed by us
    bool blocked = false;   // its buffer is full: wait until it is writable
    std::array<std::byte, 8> ack{};
    std::size_t ack_size = 0;
    PollLoop::Watch watch;
  };

  void on_source();
  void read_source();
  bool more_follows(int waited) const;
  void discard_source();
  void end();
  void on_connection(std::uint32_t events);
  bool read_acknowledgements();
  void take_acknowledgements(std::span<const std::byte> bytes);
  void send();
  void drop_connection();
  void update_watches();

  PollLoop& loop_;
  base::UniqueFd source_;
  std::function<void()> on_end_;
  ReplayBuffer buffer_;
  bool terminal_;
  bool ended_ = false;
  bool cut_ = false;

  PollLoop::Watch source_watch_;
  Connection connection_;
};

}  // namespace guest_init
