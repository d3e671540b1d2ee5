// TarWriter: writes regular files as a plain ustar stream with fixed owners and times, so that the
// same members make the same bytes.
#pragma once

#include <cstdint>
#include <string_view>

#include "images/store/streams/byte_source.h"

namespace images {

class TarWriter {
 public:
  /// Writes to `sink`, which outlives it.
  explicit TarWriter(ByteSink& sink) : sink_(sink) {}

  /// Begins a member; exactly `size` bytes follow through write(). `name`: at most 100 bytes.
  base::Result<void> begin(std::string_view name, std::uint64_t size);
  base::Result<void> write(std::span<const std::byte> bytes);
  /// A whole member.
  base::Result<void> add(std::string_view name, std::string_view content);
  /// The end marker.
  base::Result<void> finish();

 private:
  base::Result<void> pad();

  ByteSink& sink_;
  std::uint64_t left_ = 0;     // of the current member
  std::uint64_t padding_ = 0;  // after it
};

}  // namespace images
