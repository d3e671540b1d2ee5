// Chain: one request of the driver, as host byte ranges: first what the device may read, then what
// it may write (virtio 1.2, 2.7.4 "Message Framing").
//
// Ownership: the ranges point into guest memory, which outlives them; a Chain is reused from pop to
// pop, so that the hot path allocates nothing. Trust: the bytes are the guest's and may change
// while they are read: copy first (Segments::copy_out), then check the copy.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>
#include <vector>

namespace virtio {

/// A list of byte ranges that is consumed from the front.
class Segments {
 public:
  void clear() {
    parts_.clear();
    first_ = 0;
    size_ = 0;
  }
  void append(std::span<std::byte> bytes) {
    parts_.push_back({bytes.data(), bytes.size()});
    size_ += bytes.size();
  }
  /// For a list that is only read, such as Chain::readable.
  void append_read_only(std::span<const std::byte> bytes) {
    append({const_cast<std::byte*>(bytes.data()), bytes.size()});
  }

  /// How many bytes are left.
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  /// The ranges that are left, for readv() and writev().
  std::span<iovec> parts() { return std::span(parts_).subspan(first_); }
  std::span<const iovec> parts() const { return std::span(parts_).subspan(first_); }

  /// Drops `count` bytes (at most size()) from the front.
  void consume(std::size_t count);
  /// Drops all but the first `count` bytes.
  void truncate(std::size_t count);
  /// Cuts the last `count` bytes (at most size()) off into `tail`.
  void split_tail(std::size_t count, Segments& tail);

  /// Copies from (or into) the front and consumes what was copied; returns how much that was.
  std::size_t copy_out(std::span<std::byte> to);
  std::size_t copy_in(std::span<const std::byte> from);
  /// Writes zeros over `count` bytes (at most size()) at the front and consumes them.
  void zero(std::size_t count);

  /// Copies a T from (into) the front and consumes it; false if there are not enough bytes.
  template <typename T>
  bool read(T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    return size_ >= sizeof(T) &&
           copy_out(std::as_writable_bytes(std::span(&value, 1))) == sizeof(T);
  }
  template <typename T>
  bool write(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    return size_ >= sizeof(T) && copy_in(std::as_bytes(std::span(&value, 1))) == sizeof(T);
  }

 private:
  std::vector<iovec> parts_;
  std::size_t first_ = 0;
  std::size_t size_ = 0;
};

struct Chain {
  std::uint16_t head = 0;  // names the chain in Queue::complete()
  Segments readable;       // driver -> device; may lie in memory where a write is a fault
  Segments writable;       // device -> driver
};

}  // namespace virtio
