// convert_layer(): makes the EROFS and the recipe of a layer from its blob, which is a tar stream,
// plain or compressed.
//
// Runs in the containervm-layer program, sandboxed: the blob is hostile, and everything that reads
// it (decompressors, tar_reader.h, layer_tree.h) is used here only.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "images/store/layers/layer_limits.h"
#include "images/store/streams/byte_source.h"

namespace images {

struct ConvertedLayer {
  std::string blob_digest;          // SHA-256 of the blob as it came
  std::string diff_id;              // SHA-256 of the tar stream in it
  std::uint64_t tar_bytes = 0;      // length of that stream
  std::uint64_t image_bytes = 0;    // length of the EROFS, a multiple of 4096
  std::uint64_t content_bytes = 0;  // sum of the files' sizes
};

/// Called now and then with the number of bytes of the blob that were read.
using ConvertProgress = std::function<void(std::uint64_t blob_bytes)>;

/// `image` is a new empty file, written by position; `recipe` takes the tar recipe
/// (tar_recipe.h). Reads `blob` to its end. On failure both outputs are garbage.
base::Result<ConvertedLayer> convert_layer(ByteSource& blob, int image, ByteSink& recipe,
                                           const LayerLimits& limits,
                                           const ConvertProgress& progress);

}  // namespace images
