// Decompression of streams: gzip (any number of members), zstd (any number of frames), xz, bzip2.
//
// Trust: the bytes are hostile, and so the libraries run in the sandboxed converter
// (layer_process.h), except for streams we made ourselves. Memory is bounded: windows of more than
// 128 MiB are refused. Output is not bounded: the reader must limit what it takes.
// Errors: kInvalidArgument for a damaged stream, kDataLoss for one that is cut short.
#pragma once

#include <memory>

#include "images/store/streams/byte_source.h"

namespace images {

enum class Compression : std::uint8_t { kNone, kGzip, kZstd, kXz, kBzip2 };

/// What the first bytes (six are enough) look like.
Compression sniff_compression(std::span<const std::byte> first_bytes);

/// The content of `source`, whatever its compression. `source` outlives the result.
base::Result<std::unique_ptr<ByteSource>> open_decompressed(ByteSource& source);

/// The content of a zstd stream. `source` outlives the result.
std::unique_ptr<ByteSource> open_zstd(ByteSource& source);

}  // namespace images
