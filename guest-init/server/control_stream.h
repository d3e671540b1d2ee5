// ControlStream: the host's control connection, cut into frames. Runs on the loop's thread. The
// loop outlives it. While the host leaves more than 1 MiB of answers unread, no further request of
// its is taken.
#pragma once

#include <functional>

#include "guest-init/system/poll_loop.h"
#include "vmm/base/unique_fd.h"
#include "vmm/base/wire.h"

namespace guest_init {

class ControlStream {
 public:
  using FrameHandler = std::function<void(const wire::RawFrame&)>;

  /// `on_frame` may destroy this object.
  ControlStream(PollLoop& loop, FrameHandler on_frame)
      : loop_(loop), on_frame_(std::move(on_frame)) {}

  /// Takes `connection`, the host's newest, and closes the one before it with all that was unsent.
  void attach(base::UniqueFd connection);
  void close();
  /// Bytes that the host has not taken yet.
  std::size_t unsent() const { return out_.size(); }
  bool connected() const { return connection_.valid(); }

  /// Queues and sends `message`. Without a connection it is dropped: what the host must learn is
  /// told again after its next Hello.
  template <typename M>
  void send(const M& message) {
    if (connected()) send_bytes(wire::frame(message));
  }

  /// Waits, at most `milliseconds`, until all was sent and the host has closed its side.
  void drain(int milliseconds);

 private:
  void send_bytes(const wire::Bytes& bytes);
  void on_events();
  bool receive();
  void handle_frames();
  void flush();
  void update_watch();

  PollLoop& loop_;
  FrameHandler on_frame_;
  base::UniqueFd connection_;
  std::uint64_t generation_ = 0;  // counts connections
  wire::FrameReader reader_;
  wire::Bytes out_;
  PollLoop::Watch watch_;
};

}  // namespace guest_init
