// ErofsWriter: writes one layer as an uncompressed EROFS, in one pass over its files' bytes.
//
// Layout: superblock | file data, each file from a block boundary, in the order it came |
// blocks of large directories | inodes, breadth first, with attributes, small directories and
// symbolic links inline. File data is never inline, so that it can be mapped as it lies (DAX).
// The same calls write the same bytes, whenever and wherever.
// Spec: the kernel's Documentation/filesystems/erofs.rst; erofs_format.h.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "images/store/layers/block_writer.h"
#include "images/store/layers/layer_tree.h"

namespace images {

class ErofsWriter {
 public:
  /// Writes to `fd`, a new empty file that outlives it.
  ErofsWriter(int fd, std::uint64_t limit) : fd_(fd), blocks_(fd, limit) {}

  /// Leaves room for the superblock. First of all calls.
  base::Result<void> begin();

  /// A file's bytes: its first block is next_block(); then appends and zeros; then end_file().
  std::uint32_t next_block() const { return blocks_.block(); }
  std::uint64_t position() const { return blocks_.position(); }
  base::Result<void> append(std::span<const std::byte> bytes) { return blocks_.append(bytes); }
  base::Result<void> append_zeros(std::uint64_t count) { return blocks_.append_zeros(count); }
  base::Result<void> end_file() { return blocks_.pad_to_block(); }

  struct Summary {
    std::uint64_t bytes = 0;          // length of the image, a multiple of the block size
    std::uint64_t content_bytes = 0;  // sum of the sizes of regular files, each counted once
  };
  /// Writes directories, inodes and the superblock; `uuid` names the filesystem. Last of all calls.
  base::Result<Summary> finish(const LayerTree& tree, const std::array<std::uint8_t, 16>& uuid);

 private:
  int fd_;
  BlockWriter blocks_;
};

}  // namespace images
