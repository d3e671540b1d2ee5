#include "vmm/emulated/link/channel.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>

namespace emulated {
namespace {

constexpr std::size_t kReadSize = 64u << 10;

/// Waits until `socket` can be used for `events`.
base::Result<void> wait_for(int socket, short events, Deadline deadline) {
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0)
      return base::Error{base::Code::kDeadlineExceeded, "the other side did not answer in time"};
    pollfd entry{.fd = socket, .events = events, .revents = 0};
    const int ready = ::poll(&entry, 1, static_cast<int>(std::min<long>(left.count(), 60'000)));
    if (ready > 0) return {};
    if (ready < 0 && errno != EINTR) return base::errno_error("poll");
  }
}

}  // namespace

Channel::Channel(base::UniqueFd socket, wire::Bytes received) : socket_(std::move(socket)) {
  ::fcntl(socket_.get(), F_SETFL, ::fcntl(socket_.get(), F_GETFL) | O_NONBLOCK);
  reader_.feed(received);
}

base::Result<void> Channel::flush() {
  while (wants_to_write()) {
    const ssize_t n = ::send(socket_.get(), outgoing_.data() + sent_, outgoing_.size() - sent_,
                             MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return {};
    if (n < 0) return base::errno_error("sending to the other side");
    sent_ += static_cast<std::size_t>(n);
  }
  outgoing_.clear();
  sent_ = 0;
  return {};
}

base::Result<bool> Channel::fill() {
  std::array<std::byte, kReadSize> buffer;
  for (;;) {
    const ssize_t n = ::recv(socket_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return true;
    if (n < 0) return base::errno_error("receiving from the other side");
    if (n == 0) return false;
    reader_.feed(std::span(buffer).first(static_cast<std::size_t>(n)));
    return true;
  }
}

base::Result<void> write_all(int socket, std::span<const std::byte> bytes, Deadline deadline) {
  while (!bytes.empty()) {
    RETURN_IF_ERROR(wait_for(socket, POLLOUT, deadline));
    const ssize_t n = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n < 0) return base::errno_error("send");
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  return {};
}

base::Result<void> read_exactly(int socket, std::span<std::byte> bytes, Deadline deadline) {
  while (!bytes.empty()) {
    RETURN_IF_ERROR(wait_for(socket, POLLIN, deadline));
    const ssize_t n = ::recv(socket, bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n < 0) return base::errno_error("recv");
    if (n == 0) return base::Error{base::Code::kUnavailable, "the other side hung up"};
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  return {};
}

base::Result<wire::RawFrame> read_frame(int socket, std::size_t longest, Deadline deadline) {
  std::array<std::byte, wire::kFrameHeaderSize> header;
  RETURN_IF_ERROR(read_exactly(socket, header, deadline));
  wire::Decoder decoder(header);
  std::uint32_t length = 0;
  wire::RawFrame frame;
  decoder.get(length);
  decoder.get(frame.type);
  if (length > longest)
    return base::Error{base::Code::kDataLoss, "a frame is longer than it may be"};
  frame.payload.resize(length);
  RETURN_IF_ERROR(read_exactly(socket, frame.payload, deadline));
  return frame;
}

}  // namespace emulated
