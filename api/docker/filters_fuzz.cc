// Client-controlled text: filters and detach keys.
#include <cstdint>
#include <string>

#include "api/docker/detach_keys.h"
#include "api/docker/filters.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto filters = docker::Filters::parse(text, {"name", "label"});
  if (filters) {
    for (const std::string& pattern : filters->get("name")) docker::name_matches(pattern, "a-name");
    filters->labels_match({{"a", "b"}});
  }
  auto keys = docker::DetachKeys::parse(text);
  if (keys && keys->scan(std::as_bytes(std::span(text))).pass.size() > text.size())
    __builtin_trap();
  return 0;
}
