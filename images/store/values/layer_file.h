// LayerFile: one layer of an image as a file, which the store has made and machines map. The store
// itself knows a layer as a row of the catalog (LayerRow); to a machine it is a place in the layers
// window or on the layers disk (protocol::PrepareContainer::Layer, layer_places.h).
#pragma once

#include <cstdint>
#include <string>

namespace images {

/// Bytes [0, bytes) of `path` are an EROFS that nobody changes any more.
struct LayerFile {
  std::string path;
  std::uint64_t bytes = 0;          // a multiple of 4096
  std::string diff_id{};            // "sha256:<hex>"
  std::uint64_t content_bytes = 0;  // sum of its files' sizes: what Docker reports as size
};

}  // namespace images
