// Client-controlled text: the request target.
#include <cstdint>
#include <string_view>

#include "api/http/target.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto target =
      http::parse_target(std::string_view(reinterpret_cast<const char*>(data), size));
  if (target && (target->path.empty() || target->path.front() != '/')) __builtin_trap();
  if (target && (target->version < http::kMinApiVersion || target->version > http::kMaxApiVersion))
    __builtin_trap();
  return 0;
}
