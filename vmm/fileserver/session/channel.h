// Channel: whole requests and whole answers on the stream to the monitor (launch/file_server.h).
//
// Threads: requests are read by one thread at a time (turn.h); answers come from any, and are
// written one at a time. Trust: lengths are the guest's.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <span>

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace fileserver {

/// A request's bytes, aligned as malloc does.
struct Request {
  std::unique_ptr<std::byte[]> bytes;
  std::size_t size = 0;

  std::span<std::byte> span() const { return {bytes.get(), size}; }
};

class Channel {
 public:
  explicit Channel(base::UniqueFd socket) : socket_(std::move(socket)) {}

  /// The next request; nothing at the end of the stream. kDataLoss: the stream ends in a request,
  /// or one is not in its bounds; there is no going on after that.
  base::Result<std::optional<Request>> receive();

  /// Whether all of it was written. The parts are used up.
  bool send(std::span<iovec> parts);

  /// Nothing is received or sent any more; what waits for that returns.
  void shut_down();

 private:
  /// What came and belongs to no request yet: several that are short come at once. The rest of a
  /// long one goes directly to where it stays.
  struct Inbox {
    std::size_t size() const { return end - begin; }

    std::array<std::byte, 8192> bytes;
    std::size_t begin = 0;
    std::size_t end = 0;
  };

  base::Result<std::optional<Request>> receive_next();
  base::Result<bool> fill_inbox(std::size_t wanted);

  const base::UniqueFd socket_;
  Inbox inbox_;
  base::Result<void> broken_;
  std::mutex sending_;
};

}  // namespace fileserver
