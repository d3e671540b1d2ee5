#include "vmm/virtio/chain.h"

#include <algorithm>

namespace virtio {

namespace {

/// Walks `count` bytes from the front, giving each piece to `visit`, and returns the new first
/// part.
template <typename Visit>
std::size_t walk(std::vector<iovec>& parts, std::size_t first, std::size_t count, Visit visit) {
  while (count > 0) {
    iovec& part = parts[first];
    const std::size_t piece = std::min(part.iov_len, count);
    visit(static_cast<std::byte*>(part.iov_base), piece);
    part.iov_base = static_cast<std::byte*>(part.iov_base) + piece;
    part.iov_len -= piece;
    count -= piece;
    if (part.iov_len == 0) ++first;
  }
  return first;
}

}  // namespace

void Segments::consume(std::size_t count) {
  count = std::min(count, size_);
  first_ = walk(parts_, first_, count, [](std::byte*, std::size_t) {});
  size_ -= count;
}

void Segments::truncate(std::size_t count) {
  while (size_ > count) {
    iovec& last = parts_.back();
    const std::size_t drop = std::min(last.iov_len, size_ - count);
    last.iov_len -= drop;
    size_ -= drop;
    if (last.iov_len == 0) parts_.pop_back();
  }
}

void Segments::split_tail(std::size_t count, Segments& tail) {
  count = std::min(count, size_);
  tail.clear();
  std::size_t skip = size_ - count;
  for (const iovec& part : parts()) {
    const std::size_t skipped = std::min(skip, part.iov_len);
    skip -= skipped;
    if (skipped < part.iov_len)
      tail.append({static_cast<std::byte*>(part.iov_base) + skipped, part.iov_len - skipped});
  }
  truncate(size_ - count);
}

std::size_t Segments::copy_out(std::span<std::byte> to) {
  const std::size_t count = std::min(to.size(), size_);
  std::byte* out = to.data();
  first_ = walk(parts_, first_, count, [&out](std::byte* piece, std::size_t size) {
    std::memcpy(out, piece, size);
    out += size;
  });
  size_ -= count;
  return count;
}

std::size_t Segments::copy_in(std::span<const std::byte> from) {
  const std::size_t count = std::min(from.size(), size_);
  const std::byte* in = from.data();
  first_ = walk(parts_, first_, count, [&in](std::byte* piece, std::size_t size) {
    std::memcpy(piece, in, size);
    in += size;
  });
  size_ -= count;
  return count;
}

void Segments::zero(std::size_t count) {
  count = std::min(count, size_);
  first_ = walk(parts_, first_, count,
                [](std::byte* piece, std::size_t size) { std::memset(piece, 0, size); });
  size_ -= count;
}

}  // namespace virtio
