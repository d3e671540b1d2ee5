// Reads files that an administrator wrote: policies, keys, stored signatures.
#pragma once

#include <cstddef>
#include <string>

#include "vmm/base/result.h"

namespace images {

/// The whole of a regular file. kResourceExhausted if it has more than `max_bytes`;
/// kInvalidArgument if it is no regular file. Does not wait for a FIFO.
base::Result<std::string> read_small_file(const std::string& path, std::size_t max_bytes);

}  // namespace images
