// Relocating a kernel that was loaded at other virtual addresses than it was linked for.
//
// Trust: the table is checked as if hostile: nothing outside of the image is written, nothing is
// allocated by its numbers, the work is bounded by its size. Spec: what Linux's
// arch/x86/tools/relocs writes and its decompressor reads: addresses as linked, signed 32-bit, a 0
// before each of three lists: 64-bit values, 32-bit values that are relative to an address which
// does not move (so they get smaller), 32-bit values. The last list goes on to the table's end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "vmm/base/result.h"

namespace x86_64 {

/// Bytes of a file.
struct FileRange {
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
};

/// A table is no longer than this; that of a kernel with everything in it is a tenth.
inline constexpr std::uint64_t kMaxRelocationBytes = std::uint64_t{16} << 20;

/// Adds `shift` to every address in `image`, whose first byte was linked to be at `linked_at`.
/// kInvalidArgument if the table is not one, or names what is not inside of the image; the image is
/// of no use then.
base::Result<void> relocate(int file, FileRange table, std::span<std::byte> image,
                            std::uint64_t linked_at, std::uint64_t shift);

}  // namespace x86_64
