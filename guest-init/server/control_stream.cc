#include "guest-init/server/control_stream.h"

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <ctime>

#include "guest-init/system/log.h"

namespace guest_init {
namespace {

/// With this much unread by the host, no more of its requests are taken.
constexpr std::size_t kMostUnsent = 1u << 20;

std::int64_t now_ms() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1'000'000;
}

}  // namespace

void ControlStream::attach(base::UniqueFd connection) {
  close();
  auto watch = loop_.watch(connection.get(), kReadable, [this](std::uint32_t) { on_events(); });
  if (!watch) {
    log_error(watch.error().message);
    return;
  }
  watch_ = *std::move(watch);
  connection_ = std::move(connection);
}

void ControlStream::close() {
  ++generation_;
  watch_.reset();
  connection_.reset();
  reader_ = {};
  out_.clear();
}

void ControlStream::on_events() {
  if (!receive()) {
    close();
    return;
  }
  handle_frames();
}

bool ControlStream::receive() {
  std::array<std::byte, 16384> bytes;
  for (;;) {
    const ssize_t size = recv(connection_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (size < 0) return errno == EAGAIN || errno == EINTR;
    if (size == 0) return false;
    reader_.feed(std::span(bytes).first(static_cast<std::size_t>(size)));
    if (static_cast<std::size_t>(size) < bytes.size()) return true;
  }
}

void ControlStream::handle_frames() {
  const std::uint64_t generation = generation_;
  while (out_.size() < kMostUnsent) {
    auto frame = reader_.next();
    if (!frame) {
      log_error("control stream: " + frame.error().message);
      close();
      return;
    }
    if (!*frame) break;
    on_frame_(**frame);
    if (generation != generation_) return;  // the handler closed or replaced the connection
  }
  flush();
  update_watch();
}

void ControlStream::send_bytes(const wire::Bytes& bytes) {
  out_.insert(out_.end(), bytes.begin(), bytes.end());
  flush();
  update_watch();
}

void ControlStream::flush() {
  std::size_t sent = 0;
  while (sent < out_.size()) {
    const ssize_t size = ::send(connection_.get(), out_.data() + sent, out_.size() - sent,
                                MSG_DONTWAIT | MSG_NOSIGNAL);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && errno != EAGAIN) {
      out_.clear();  // the connection is broken: reading will tell
      return;
    }
    if (size < 0) break;
    sent += static_cast<std::size_t>(size);
  }
  out_.erase(out_.begin(), out_.begin() + static_cast<std::ptrdiff_t>(sent));
}

void ControlStream::update_watch() {
  const std::uint32_t reading = out_.size() < kMostUnsent ? kReadable : 0;
  watch_.set_events(reading | (out_.empty() ? 0 : kWritable));
}

void ControlStream::drain(int milliseconds) {
  const std::int64_t deadline = now_ms() + milliseconds;
  for (std::int64_t left = milliseconds; connected() && left > 0; left = deadline - now_ms()) {
    flush();
    pollfd wait{connection_.get(), static_cast<short>(POLLIN | (out_.empty() ? 0 : POLLOUT)), 0};
    if (poll(&wait, 1, static_cast<int>(left)) <= 0) return;
    if ((wait.revents & (POLLIN | POLLHUP | POLLERR)) != 0 && !receive()) return;
  }
}

}  // namespace guest_init
