#include "vmm/devices/vsock/vsock_connection.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <utility>

#include "vmm/devices/vsock/vsock_packet.h"

namespace devices {

void ByteFifo::append(std::span<const iovec> parts) {
  if (first_ > 0) {
    bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(first_));
    first_ = 0;
  }
  for (const iovec& part : parts) {
    const auto* begin = static_cast<const std::byte*>(part.iov_base);
    bytes_.insert(bytes_.end(), begin, begin + part.iov_len);
  }
}

void ByteFifo::consume(std::size_t count) {
  first_ += count;
  if (first_ < bytes_.size()) return;
  bytes_ = {};
  first_ = 0;
}

VsockConnection::VsockConnection(std::optional<std::uint32_t> tag, std::uint32_t host_port,
                                 std::uint32_t guest_port, State initial)
    : state(initial), tag_(tag), host_port_(host_port), guest_port_(guest_port) {}

VsockConnection::VsockConnection(const Saved& saved)
    : counters{.guest_buffer = saved.guest_buffer,
               .guest_forwarded = saved.guest_forwarded,
               .forwarded = saved.received,
               .announced_forwarded = saved.received,
               .sent = saved.sent,
               .received = saved.received},
      tag_(saved.tag),
      host_port_(saved.host_port),
      guest_port_(saved.guest_port) {}

base::Result<void> VsockConnection::set_socket(base::EventLoop& loop, base::UniqueFd socket,
                                               base::EventLoop::Handler on_events) {
  auto watch =
      loop.watch(socket.get(), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, std::move(on_events));
  if (!watch) return annotate(std::move(watch), "vsock stream");
  socket_.watch = *std::move(watch);
  socket_.fd = std::move(socket);
  socket_.writable = true;
  return {};
}

VsockConnection::~VsockConnection() { close_socket(); }

/// Closing a unix socket with unread bytes gives its peer ECONNRESET instead of end of file, so
/// they are read first; after the shutdown no more can come.
void VsockConnection::close_socket() {
  socket_.watch.reset();
  if (!socket_.fd) return;
  ::shutdown(socket_.fd.get(), SHUT_RD);
  std::array<std::byte, 4096> unread;
  while (::recv(socket_.fd.get(), unread.data(), unread.size(), MSG_DONTWAIT) > 0) {
  }
  socket_.fd.reset();
  socket_.readable = false;
  socket_.writable = false;
}

void VsockConnection::note_events(std::uint32_t events) {
  if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) socket_.readable = true;
  if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) socket_.peer_closing = true;
  if ((events & EPOLLOUT) != 0) socket_.writable = true;
  if ((events & (EPOLLHUP | EPOLLERR)) != 0) stop_delivery();
}

bool VsockConnection::deliver(virtio::Segments& data) {
  if (data.size() > kBufferBytes - (counters.received - counters.forwarded)) return false;
  counters.received += static_cast<std::uint32_t>(data.size());
  if (to_socket_.empty() && socket_.writable && !socket_.discarding) {
    std::size_t taken = 0;
    write(data.parts(), taken);
    data.consume(taken);
  }
  if (socket_.discarding) {
    counters.forwarded = counters.received;
  } else if (!data.empty()) {
    to_socket_.append(data.parts());
  }
  return true;
}

void VsockConnection::flush() {
  while (socket_.writable && !to_socket_.empty()) {
    const std::span<const std::byte> bytes = to_socket_.front();
    const iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
    std::size_t taken = 0;
    write(std::span(&part, 1), taken);
    if (!socket_.discarding) to_socket_.consume(taken);
  }
  if (to_socket_.empty() && (guest_shutdown & kVsockShutdownSend) != 0 && socket_.fd)
    ::shutdown(socket_.fd.get(), SHUT_WR);
}

void VsockConnection::on_guest_shutdown(std::uint32_t flags) {
  guest_shutdown |= flags & (kVsockShutdownReceive | kVsockShutdownSend);
  if ((guest_shutdown & kVsockShutdownReceive) != 0) {
    if (socket_.fd) ::shutdown(socket_.fd.get(), SHUT_RD);
    pending.shutdown_wanted |= kVsockShutdownSend;
  }
  flush();
}

void VsockConnection::write(std::span<const iovec> parts, std::size_t& taken) {
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(parts.data());
  message.msg_iovlen = std::min<std::size_t>(parts.size(), IOV_MAX);
  const ssize_t count = ::sendmsg(socket_.fd.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (count < 0) {
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
      socket_.writable = false;
    } else if (errno != EINTR) {
      stop_delivery();
    }
    return;
  }
  taken = static_cast<std::size_t>(count);
  counters.forwarded += static_cast<std::uint32_t>(count);
}

/// The socket's peer takes no more bytes: the guest is told, and what it still sends is dropped.
void VsockConnection::stop_delivery() {
  socket_.discarding = true;
  socket_.writable = false;
  to_socket_.consume(to_socket_.size());
  counters.forwarded = counters.received;
  pending.shutdown_wanted |= kVsockShutdownReceive;
}

/// Linux sends no more ahead than its own buffer holds, whatever it is offered, and does not ask
/// when it has done so: it must be told before that much was forwarded.
bool VsockConnection::credit_update_due() const {
  constexpr std::uint32_t kSmallest = 4096;  // a guest that says less is told seldom enough
  const std::uint32_t ahead = std::clamp(counters.guest_buffer, kSmallest, kBufferBytes);
  return counters.forwarded - counters.announced_forwarded >= ahead / 2;
}

std::uint32_t VsockConnection::guest_credit() const {
  const std::uint32_t under_way = counters.sent - counters.guest_forwarded;
  return under_way >= counters.guest_buffer ? 0 : counters.guest_buffer - under_way;
}

bool VsockConnection::can_read() const {
  return state == State::kOpen && socket_.readable &&
         (pending.shutdown_wanted & kVsockShutdownSend) == 0;
}

std::size_t VsockConnection::read(std::span<const iovec> parts, std::size_t size) {
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(parts.data());
  message.msg_iovlen = parts.size();
  const ssize_t count = ::recvmsg(socket_.fd.get(), &message, MSG_DONTWAIT);
  if (count > 0) {
    // Less came than was asked for: the socket is empty. An event will tell when it is not any
    // more.
    if (static_cast<std::size_t>(count) < size && !socket_.peer_closing) socket_.readable = false;
    counters.sent += static_cast<std::uint32_t>(count);
    return static_cast<std::size_t>(count);
  }
  if (count < 0 && errno == EINTR) return 0;
  socket_.readable = false;
  if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return 0;
  pending.shutdown_wanted |= kVsockShutdownSend;  // end of file
  // A peer that closed is told apart from one that only writes no more: the guest hears of both
  // ways at once.
  pollfd peer{.fd = socket_.fd.get(), .events = 0, .revents = 0};
  if (::poll(&peer, 1, 0) > 0 && (peer.revents & (POLLHUP | POLLERR)) != 0) stop_delivery();
  return 0;
}

bool VsockConnection::quiet() const {
  if (!tag_ || state != State::kOpen || pending.request || pending.response ||
      guest_shutdown != 0 || pending.shutdown_wanted != 0 ||
      counters.received != counters.forwarded)
    return false;
  int unread = 0;
  return !socket_.fd || (::ioctl(socket_.fd.get(), FIONREAD, &unread) == 0 && unread == 0);
}

VsockConnection::Saved VsockConnection::saved() const {
  return {.tag = *tag_,
          .host_port = host_port_,
          .guest_port = guest_port_,
          .guest_buffer = counters.guest_buffer,
          .guest_forwarded = counters.guest_forwarded,
          .sent = counters.sent,
          .received = counters.received};
}

}  // namespace devices
