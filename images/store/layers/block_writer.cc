#include "images/store/layers/block_writer.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace images {

namespace {

constexpr std::size_t kBufferBytes = 1u << 20;  // a multiple of the block size

bool is_zero(std::span<const std::byte> bytes) {
  return bytes.empty() || (bytes[0] == std::byte{0} &&
                           std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

base::Result<void> write_at(int fd, std::span<const std::byte> bytes, std::uint64_t offset) {
  while (!bytes.empty()) {
    const ssize_t put = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return base::errno_error("write layer");
    bytes = bytes.subspan(static_cast<std::size_t>(put));
    offset += static_cast<std::uint64_t>(put);
  }
  return {};
}

}  // namespace

base::Result<void> BlockWriter::check_room(std::uint64_t count) const {
  if (position() <= limit_ && count <= limit_ - position()) return {};
  return base::Error{base::Code::kResourceExhausted, "the layer is larger than the limit"};
}

base::Result<void> BlockWriter::append(std::span<const std::byte> bytes) {
  RETURN_IF_ERROR(check_room(bytes.size()));
  while (!bytes.empty()) {
    const std::size_t step = std::min(bytes.size(), kBufferBytes - buffer_.size());
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(step));
    bytes = bytes.subspan(step);
    if (buffer_.size() == kBufferBytes) RETURN_IF_ERROR(flush());
  }
  return {};
}

base::Result<void> BlockWriter::append_zeros(std::uint64_t count) {
  RETURN_IF_ERROR(check_room(count));
  const std::uint64_t room = kBufferBytes - buffer_.size();
  if (count < room) {
    buffer_.resize(buffer_.size() + count);
    return {};
  }
  buffer_.resize(kBufferBytes);
  count -= room;
  RETURN_IF_ERROR(flush());
  buffer_start_ += count / erofs::kBlockSize * erofs::kBlockSize;
  buffer_.resize(count % erofs::kBlockSize);
  return {};
}

base::Result<void> BlockWriter::pad_to_block() {
  const std::uint64_t used = position() % erofs::kBlockSize;
  return used == 0 ? base::Result<void>() : append_zeros(erofs::kBlockSize - used);
}

// Writes runs of blocks that are not all zeros; the last block may be short.
base::Result<void> BlockWriter::flush() {
  const std::span<const std::byte> all(buffer_);
  const auto block_at = [&](std::size_t offset) {
    return all.subspan(offset, std::min<std::size_t>(erofs::kBlockSize, all.size() - offset));
  };
  std::size_t offset = 0;
  while (offset < all.size()) {
    if (is_zero(block_at(offset))) {
      offset += erofs::kBlockSize;
      continue;
    }
    std::size_t end = offset;
    while (end < all.size() && !is_zero(block_at(end))) end += erofs::kBlockSize;
    end = std::min(end, all.size());
    RETURN_IF_ERROR(write_at(fd_, all.subspan(offset, end - offset), buffer_start_ + offset));
    offset = end;
  }
  buffer_start_ += buffer_.size();
  buffer_.clear();
  return {};
}

base::Result<void> BlockWriter::finish() {
  RETURN_IF_ERROR(flush());
  if (::ftruncate(fd_, static_cast<off_t>(buffer_start_)) < 0)
    return base::errno_error("write layer");
  return {};
}

}  // namespace images
