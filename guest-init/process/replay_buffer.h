// ReplayBuffer: the bytes of one output stream that the host has not acknowledged yet, addressed by
// their position in the stream. They come from a process's pipe, are sent on a connection, and are
// sent again on a later connection if the first is lost.
//
// Owns its storage (virtual memory that is touched only as far as it is used). Single thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "vmm/base/result.h"

namespace guest_init {

class ReplayBuffer {
 public:
  explicit ReplayBuffer(std::size_t capacity);

  /// Contiguous free space to read into; empty when full. Then commit() what was filled.
  std::span<std::byte> free_space();
  void commit(std::size_t size);

  /// Contiguous kept bytes from `position` on; empty at the end or outside of what is kept.
  std::span<const std::byte> from(std::uint64_t position) const;

  /// The host has everything before `position`. kInvalidArgument if that was never produced; an
  /// older position than before changes nothing.
  base::Result<void> acknowledge(std::uint64_t position);

  std::uint64_t acknowledged() const { return begin_; }
  std::uint64_t end() const { return end_; }
  bool full() const { return end_ - begin_ == capacity_; }

 private:
  std::size_t index(std::uint64_t position) const {
    return static_cast<std::size_t>((position - origin_) % capacity_);
  }

  std::size_t capacity_;
  std::unique_ptr<std::byte[]> storage_;
  std::uint64_t begin_ = 0;
  std::uint64_t end_ = 0;
  std::uint64_t origin_ = 0;  // the position stored at index 0; moves when all is acknowledged, so
                              // that a process with little output touches few pages
};

}  // namespace guest_init
