// LayerLimits: what one layer may cost, whoever made it. Reaching one is kResourceExhausted.
#pragma once

#include <cstdint>

namespace images {

struct LayerLimits {
  std::uint64_t tar_bytes = std::uint64_t{64} << 30;        // of the uncompressed tar stream
  std::uint64_t image_bytes = std::uint64_t{128} << 30;     // of the EROFS, holes included
  std::uint64_t entries = 1'000'000;                        // files, directories, links, whiteouts
  std::uint64_t metadata_bytes = std::uint64_t{512} << 20;  // names, xattrs, links in memory
};

}  // namespace images
