#include "guest-init/testing/host_connection.h"

#include <poll.h>
#include <sys/socket.h>

#include <array>

namespace guest_init::testing {

void HostConnection::send_bytes(const wire::Bytes& bytes) {
  std::size_t sent = 0;
  while (sent < bytes.size()) {
    const ssize_t size = ::send(fd_.get(), bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (size <= 0) return;
    sent += static_cast<std::size_t>(size);
  }
}

void HostConnection::send_text(const std::string& text) {
  const auto* first = reinterpret_cast<const std::byte*>(text.data());
  send_bytes(wire::Bytes(first, first + text.size()));
}

void HostConnection::acknowledge(std::uint64_t position) {
  wire::Encoder encoder;
  encoder.put(position);
  send_bytes(std::move(encoder).take());
}

void HostConnection::half_close() { shutdown(fd_.get(), SHUT_WR); }

bool HostConnection::wait_readable() const {
  pollfd wait{fd_.get(), POLLIN, 0};
  return poll(&wait, 1, kPatienceMs) > 0;
}

base::Result<wire::RawFrame> HostConnection::receive() {
  for (;;) {
    auto frame = reader_.next();
    if (!frame) return std::move(frame).error();
    if (*frame) return *std::move(*frame);
    std::array<std::byte, 4096> bytes;
    const ssize_t size = wait_readable() ? recv(fd_.get(), bytes.data(), bytes.size(), 0) : -1;
    if (size <= 0) return base::Error{base::Code::kUnavailable, "nothing more comes"};
    reader_.feed(std::span(bytes).first(static_cast<std::size_t>(size)));
  }
}

bool HostConnection::wait_closed() {
  while (wait_readable()) {
    std::array<std::byte, 4096> bytes;
    if (recv(fd_.get(), bytes.data(), bytes.size(), 0) <= 0) return true;
  }
  return false;
}

base::Error HostConnection::unexpected(const wire::RawFrame& frame) {
  std::string message = "unexpected message of type " + std::to_string(frame.type);
  if (frame.type == static_cast<std::uint16_t>(protocol::MessageType::kFailure))
    if (auto failure = wire::decode<protocol::Failure>(frame.payload))
      message += ": " + failure->stage + ": " + failure->message;
  return {base::Code::kInternal, message};
}

std::string HostConnection::read(std::size_t size) {
  std::string text;
  while (text.size() < size && wait_readable()) {
    std::array<char, 65536> bytes;
    const std::size_t wanted = std::min(bytes.size(), size - text.size());
    const ssize_t got = recv(fd_.get(), bytes.data(), wanted, 0);
    if (got <= 0) break;
    text.append(bytes.data(), static_cast<std::size_t>(got));
  }
  return text;
}

}  // namespace guest_init::testing
