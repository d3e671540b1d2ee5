// Tar recipes: how to get a layer's exact tar stream back from its EROFS.
//
// A recipe lists, in stream order, literal bytes (headers, padding) and ranges of the EROFS (the
// files' contents), so the tar itself need not be kept beside the EROFS for save and push.
// Format, version 1: "CVMTARR1", then one zstd stream of records:
//   u8 kRecordLiteral, u32 length, bytes  |  u8 kRecordRange, u64 offset, u64 length  (little
//   endian)
// Trust: recipes are written by the sandboxed converter, which read hostile bytes: when one is
// read, all of it is checked, and the caller compares the digest of what came out.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "images/store/streams/byte_source.h"

namespace images {

class RecipeWriter {
 public:
  /// Writes to `sink`, which outlives it. More than `literal_limit` bytes that are not in the
  /// EROFS are kResourceExhausted.
  RecipeWriter(ByteSink& sink, std::uint64_t literal_limit);
  ~RecipeWriter();

  base::Result<void> literal(std::span<const std::byte> bytes);
  /// Neighbouring ranges are joined.
  base::Result<void> range(std::uint64_t offset, std::uint64_t length);
  base::Result<void> finish();

 private:
  struct Compressor;

  base::Result<void> flush();

  std::unique_ptr<Compressor> compressor_;
  std::uint64_t literal_left_;
  std::string literal_;
  std::uint64_t range_offset_ = 0;
  std::uint64_t range_length_ = 0;
};

/// Writes the tar stream to `sink`. `recipe` and `image` are open files; `image_bytes` the length
/// of the EROFS, `tar_bytes` of the stream. kDataLoss if the recipe is damaged.
base::Result<void> rebuild_tar(int recipe, int image, std::uint64_t image_bytes,
                               std::uint64_t tar_bytes, ByteSink& sink);

}  // namespace images
