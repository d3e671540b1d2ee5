// The size of a disk as clients write it: of a container's own, or of a volume's. Any thread.
#pragma once

#include <cstdint>
#include <string_view>

#include "vmm/base/result.h"

namespace engine {

/// "10g", "64MiB" in whole MiB, up to 4 TiB; kInvalidArgument for nonsense.
base::Result<std::uint64_t> parse_disk_bytes(std::string_view text);

}  // namespace engine
