#include "vmm/emulated/link/datagram_reader.h"

#include <sys/socket.h>

#include <algorithm>

#include "vmm/emulated/link/messages.h"

namespace emulated {

std::span<std::byte> DatagramReader::space() {
  buffer_.resize(kMaxDatagramFrame);
  std::copy(buffer_.begin() + static_cast<std::ptrdiff_t>(begin_),
            buffer_.begin() + static_cast<std::ptrdiff_t>(end_), buffer_.begin());
  end_ -= std::exchange(begin_, 0);
  return std::span(buffer_).subspan(end_);
}

base::Result<bool> DatagramReader::fill(int socket) {
  const std::span<std::byte> room = space();
  const ssize_t n = ::recv(socket, room.data(), room.size(), MSG_DONTWAIT);
  if (n < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK)) return true;
  if (n < 0) return base::errno_error("receiving datagrams");
  end_ += static_cast<std::size_t>(n);
  return n > 0;
}

std::size_t DatagramReader::feed(std::span<const std::byte> bytes) {
  const std::span<std::byte> room = space();
  const auto some = bytes.first(std::min(bytes.size(), room.size()));
  std::copy(some.begin(), some.end(), room.begin());
  end_ += some.size();
  return some.size();
}

base::Result<std::optional<DatagramReader::Frame>> DatagramReader::next() {
  const auto unread = std::span<const std::byte>(buffer_).subspan(begin_, end_ - begin_);
  if (unread.size() < wire::kFrameHeaderSize) return std::optional<Frame>();
  wire::Decoder header(unread.first(wire::kFrameHeaderSize));
  std::uint32_t length = 0;
  Frame frame;
  header.get(length);
  header.get(frame.raw.type);
  if (length > kMaxDatagramFrame - wire::kFrameHeaderSize)
    return base::Error{base::Code::kDataLoss, "a frame is longer than a datagram can be"};
  frame.size = wire::kFrameHeaderSize + length;
  if (unread.size() < frame.size) return std::optional<Frame>();
  const auto payload = unread.subspan(wire::kFrameHeaderSize, length);
  frame.raw.payload.assign(payload.begin(), payload.end());
  begin_ += frame.size;
  return std::optional<Frame>(std::move(frame));
}

}  // namespace emulated
