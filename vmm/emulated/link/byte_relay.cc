#include "vmm/emulated/link/byte_relay.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <span>

namespace emulated {
namespace {

bool is_transient(int error) { return error == EINTR || error == EAGAIN || error == EWOULDBLOCK; }

/// One direction: what was read from `from` and not yet written to `to`.
class Direction {
 public:
  Direction(int from, int to) : from_(from), to_(to) {}

  bool done() const { return done_; }
  /// Ends the direction because nobody will receive any more.
  void abandon() {
    done_ = true;
    size_ = 0;
  }
  bool wants_to_read() const { return !done_ && size_ == 0; }
  bool wants_to_write() const { return !done_ && size_ > 0; }

  bool read() {
    const ssize_t n = ::recv(from_, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
    if (n < 0) return is_transient(errno);
    if (n == 0) {
      ::shutdown(to_, SHUT_WR);
      done_ = true;
      return true;
    }
    begin_ = 0;
    size_ = static_cast<std::size_t>(n);
    return write();
  }

  bool write() {
    const ssize_t n = ::send(to_, buffer_.data() + begin_, size_, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0) return is_transient(errno);
    begin_ += static_cast<std::size_t>(n);
    size_ -= static_cast<std::size_t>(n);
    return true;
  }

 private:
  int from_;
  int to_;
  std::array<std::byte, 64u << 10> buffer_;
  std::size_t begin_ = 0;
  std::size_t size_ = 0;
  bool done_ = false;
};

short events_of(bool read, bool write) {
  return static_cast<short>((read ? POLLIN : 0) | (write ? POLLOUT : 0));
}

/// One of the two sockets: `in` reads from it, `out` writes to it.
struct Side {
  int fd;
  Direction& in;
  Direction& out;
  bool hung_up = false;  // its peer is gone for both directions: poll would report it for ever

  pollfd entry() const {
    return {.fd = hung_up && !in.wants_to_read() ? -1 : fd,
            .events = events_of(in.wants_to_read(), out.wants_to_write()),
            .revents = 0};
  }

  /// False if the socket failed.
  bool on_events(short events) {
    if (events & (POLLERR | POLLNVAL)) return false;
    if (events & (POLLIN | POLLHUP) && in.wants_to_read() && !in.read()) return false;
    if (events & POLLOUT && out.wants_to_write() && !out.write()) return false;
    if (events & POLLHUP) {
      hung_up = true;
      out.abandon();
    }
    return true;
  }
};

}  // namespace

void relay_bytes(base::UniqueFd left, base::UniqueFd right) {
  Direction forth(left.get(), right.get());
  Direction back(right.get(), left.get());
  Side left_side{.fd = left.get(), .in = forth, .out = back};
  Side right_side{.fd = right.get(), .in = back, .out = forth};
  while (!forth.done() || !back.done()) {
    std::array<pollfd, 2> entries{left_side.entry(), right_side.entry()};
    if (::poll(entries.data(), entries.size(), -1) < 0) {
      if (errno == EINTR) continue;
      return;
    }
    if (!left_side.on_events(entries[0].revents) || !right_side.on_events(entries[1].revents))
      return;
  }
}

}  // namespace emulated
