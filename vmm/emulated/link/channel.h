// Channel: frames over one non-blocking stream socket, and the request that opens a connection.
//
// Threading: one thread. Memory: what waits to be sent is bounded by the stream windows
// (streams.h), what was received and not yet cut into frames by the longest frame.
#pragma once

#include <chrono>
#include <optional>
#include <span>

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"
#include "vmm/base/wire.h"
#include "vmm/emulated/link/messages.h"

namespace emulated {

class Channel {
 public:
  /// Takes over `socket` and makes it non-blocking. `received` are bytes that were read from it
  /// before.
  explicit Channel(base::UniqueFd socket, wire::Bytes received = {});

  int fd() const { return socket_.get(); }

  /// Queues a frame; flush() sends it.
  template <typename M>
  void send(const M& message) {
    send_frame(wire::frame(message));
  }
  /// The same, for a frame that was made before.
  void send_frame(std::span<const std::byte> frame) {
    outgoing_.insert(outgoing_.end(), frame.begin(), frame.end());
  }

  /// Whether bytes wait for flush(): poll for POLLOUT then.
  bool wants_to_write() const { return sent_ < outgoing_.size(); }
  /// Writes as much as the socket takes now.
  base::Result<void> flush();
  /// Reads what is there now; false at the end of the stream.
  base::Result<bool> fill();
  /// The next whole frame of what has been read; nullopt if there is none.
  base::Result<std::optional<wire::RawFrame>> next() { return reader_.next(); }

 private:
  base::UniqueFd socket_;
  wire::FrameReader reader_;
  wire::Bytes outgoing_;
  std::size_t sent_ = 0;
};

/// For the handshake, blocking; `deadline` bounds each call in total (kDeadlineExceeded).
using Deadline = std::chrono::steady_clock::time_point;
base::Result<void> write_all(int socket, std::span<const std::byte> bytes, Deadline deadline);
base::Result<void> read_exactly(int socket, std::span<std::byte> bytes, Deadline deadline);
/// Reads one frame, whose payload is at most `longest` bytes, and not a byte more.
base::Result<wire::RawFrame> read_frame(int socket, std::size_t longest, Deadline deadline);

/// Decodes a frame as message M; kDataLoss if it is another message.
template <typename M>
base::Result<M> expect(const wire::RawFrame& frame) {
  if (frame.type != static_cast<std::uint16_t>(M::kType))
    return base::Error{base::Code::kDataLoss, "an unexpected message type"};
  return wire::decode<M>(frame.payload);
}

}  // namespace emulated
