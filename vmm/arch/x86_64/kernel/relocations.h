// Relocates a kernel that runs at other virtual addresses than it was linked for.
//
// Trust: the table is checked as if hostile: nothing outside of the image is written, nothing is
// allocated by its numbers, the work is bounded by its size.
// Spec: the table is the one that Linux's arch/x86/tools/relocs writes and its decompressor reads.
// An entry is the linked address of a value to change, signed 32-bit. A 0 begins each of three
// lists: 64-bit values; 32-bit values relative to an address that does not move, which get smaller;
// 32-bit values. The last list goes on to the table's end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "vmm/base/result.h"

namespace x86_64 {

/// A range of a file, in bytes.
struct FileRange {
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
};

/// A longer table is refused. That of a kernel with everything built in has a tenth of this.
inline constexpr std::uint64_t kMaxRelocationBytes = std::uint64_t{16} << 20;

/// Adds `shift` to every address in `image`, whose first byte was linked to be at `linked_at`.
/// kInvalidArgument if the table is malformed or names a value outside of the image; the image may
/// then be changed in part and must not be run.
base::Result<void> relocate(int file, FileRange table, std::span<std::byte> image,
                            std::uint64_t linked_at, std::uint64_t shift);

}  // namespace x86_64
