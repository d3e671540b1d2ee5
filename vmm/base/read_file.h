// Reads of the files that a machine is booted or restored from.
//
// Threads: any; they block. Descriptors are borrowed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "vmm/base/result.h"

namespace base {

/// The size of a regular file in bytes; kInvalidArgument if `file` is of another kind.
Result<std::uint64_t> file_size(int file);

/// Fills `destination` from `file` at `offset`; kDataLoss if the file ends before.
Result<void> read_fully(int file, std::uint64_t offset, std::span<std::byte> destination);

}  // namespace base
