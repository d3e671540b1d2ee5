// .dockerignore files and wildcards: the first line is a path, the rest the patterns.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "images/dockerfile/patterns.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::size_t end = std::min(text.find('\n'), text.size());
  const std::string_view path = text.substr(0, end);
  const std::string_view patterns = text.substr(end);
  (void)dockerfile::matches(patterns, path);
  const auto list = dockerfile::IgnoreList::parse(patterns);
  if (list) (void)list->ignores(path);
  return 0;
}
