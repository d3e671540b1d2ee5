// For fuzz targets: makes the headers of a tar archive pass, so that what is behind their checksums
// is reached.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>

namespace images::testing {

/// Walks `tar` as its headers' sizes say and writes the right checksum into each. Anything goes in;
/// the end is where no whole header is left.
inline void fix_tar_checksums(std::string& tar) {
  constexpr std::size_t kBlock = 512;
  constexpr std::size_t kSum = 148;
  constexpr std::size_t kSize = 124;
  for (std::size_t at = 0; at + kBlock <= tar.size();) {
    std::fill_n(tar.begin() + static_cast<std::ptrdiff_t>(at + kSum), 8, ' ');
    unsigned sum = 0;
    for (std::size_t i = 0; i < kBlock; ++i) sum += static_cast<unsigned char>(tar[at + i]);
    char text[8] = {};
    std::snprintf(text, sizeof text, "%06o", sum & 0777777u);
    std::copy_n(text, 7, tar.begin() + static_cast<std::ptrdiff_t>(at + kSum));
    std::size_t size = 0;
    for (std::size_t i = 0; i < 11; ++i) {
      const char digit = tar[at + kSize + i];
      if (digit < '0' || digit > '7') break;
      size = size * 8 + static_cast<std::size_t>(digit - '0');
    }
    at += kBlock + (std::min(size, tar.size()) + kBlock - 1) / kBlock * kBlock;
  }
}

}  // namespace images::testing
