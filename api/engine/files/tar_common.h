// What reading (tar_stream.h) and writing (tar_writer.h) of tar archives have in common.
#pragma once

#include <archive.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "api/engine/files/file_time.h"

namespace engine {

inline constexpr std::size_t kLongestTarPath = 64u << 10;

inline std::string reason_of(archive* tar) {
  const char* text = archive_error_string(tar);
  return text == nullptr ? "unknown error" : text;
}

/// A name or a link's target that a file can have.
inline bool is_usable(const std::string& text) {
  return !text.empty() && text.size() <= kLongestTarPath && text.find('\0') == std::string::npos;
}

}  // namespace engine
