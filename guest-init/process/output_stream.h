// OutputStream: carries what a process writes (a pipe or terminal) to the host, and keeps what the
// host has not acknowledged, so that a host that comes back misses nothing.
//
// Flow control: when the replay buffer is full, nothing is read from the process until the host
// acknowledges; the process then blocks in write(2). Runs on the loop's thread.
//
// The kernel hands on one write to a terminal in pieces ("text", then "\r\n"), as it puts in the
// carriage returns. So a terminal's output is awaited for a moment, as long as more comes: many
// clients take what arrives at once for a line.
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

  /// The host's connection; replaces an earlier one. `offset`: where the host wants to go on. A
  /// connection that cannot be served from there is closed.
  void attach(base::UniqueFd connection, std::uint64_t offset);

  /// The process is gone: what it wrote is read now. With `cut`, what others who hold the stream
  /// open write later is thrown away; else the end waits for them.
  void process_exited(bool cut);

  bool ended() const { return ended_; }
  std::uint64_t length() const { return buffer_.end(); }
  std::uint64_t acknowledged() const { return buffer_.acknowledged(); }

 private:
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

  base::UniqueFd connection_;
  std::uint64_t sent_ = 0;  // on this connection
  bool finished_ = false;   // the connection was half-closed by us
  bool blocked_ = false;    // the connection takes no more for now
  std::array<std::byte, 8> ack_{};
  std::size_t ack_size_ = 0;

  PollLoop::Watch source_watch_;
  PollLoop::Watch connection_watch_;
};

}  // namespace guest_init
