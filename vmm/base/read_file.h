// Reading from the files that a machine is booted from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "vmm/base/result.h"

namespace base {

/// Size of a regular file.
Result<std::uint64_t> file_size(int file);

/// Fills `destination` from `file` at `offset`; kDataLoss if the file ends before.
Result<void> read_fully(int file, std::uint64_t offset, std::span<std::byte> destination);

}  // namespace base
