// One connection of the host side, for tests. Every wait is bounded; what does not come is an
// error.
#pragma once

#include <string>

#include "guest-init/protocol/messages.h"
#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"
#include "vmm/base/wire.h"

namespace guest_init::testing {

inline constexpr int kPatienceMs = 60'000;

class HostConnection {
 public:
  explicit HostConnection(base::UniqueFd fd) : fd_(std::move(fd)) {}

  template <typename M>
  void send(const M& message) {
    send_bytes(wire::frame(message));
  }
  void send_bytes(const wire::Bytes& bytes);
  void send_text(const std::string& text);
  void acknowledge(std::uint64_t position);
  void half_close();
  void reset() { fd_.reset(); }

  base::Result<wire::RawFrame> receive();
  /// The next frame, which must be an M.
  template <typename M>
  base::Result<M> receive_as() {
    auto frame = receive();
    if (!frame) return std::move(frame).error();
    if (frame->type != static_cast<std::uint16_t>(M::kType)) return unexpected(*frame);
    return wire::decode<M>(frame->payload);
  }
  /// `size` raw bytes, or fewer at the end of the stream.
  std::string read(std::size_t size);
  /// Reads on to the end; false if it does not come in time.
  bool wait_closed();
  std::string read_to_end() { return read(std::string::npos); }

 private:
  static base::Error unexpected(const wire::RawFrame& frame);
  /// False at the end or when nothing came in time.
  bool wait_readable() const;

  base::UniqueFd fd_;
  wire::FrameReader reader_;
};

}  // namespace guest_init::testing
