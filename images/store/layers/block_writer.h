// BlockWriter: writes a file from front to back in large pieces; whole blocks of zeros become
// holes. Meant for a new, empty file.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "images/store/layers/erofs_format.h"
#include "vmm/base/result.h"

namespace images {

class BlockWriter {
 public:
  /// Writes to `fd`, which outlives it. More than `limit` bytes are kResourceExhausted.
  BlockWriter(int fd, std::uint64_t limit) : fd_(fd), limit_(limit) {}

  base::Result<void> append(std::span<const std::byte> bytes);
  /// The same as appending `count` zeros, in constant time.
  base::Result<void> append_zeros(std::uint64_t count);
  base::Result<void> pad_to_block();
  /// Writes what is buffered and gives the file its length.
  base::Result<void> finish();

  std::uint64_t position() const { return buffer_start_ + buffer_.size(); }
  std::uint32_t block() const { return static_cast<std::uint32_t>(position() / erofs::kBlockSize); }

 private:
  base::Result<void> check_room(std::uint64_t count) const;
  base::Result<void> flush();

  int fd_;
  std::uint64_t limit_;
  std::uint64_t buffer_start_ = 0;  // a multiple of the block size
  std::vector<std::byte> buffer_;
};

}  // namespace images
