#include "api/engine/settings/mounts/disk_size.h"

#include <charconv>
#include <string>

#include "vmm/base/letters.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;

Result<std::uint64_t> parse_disk_bytes(std::string_view size) {
  const std::string text = base::lower_case(size);
  const Error bad{Code::kInvalidArgument, "invalid size: '" + text.substr(0, 32) + "'"};
  std::uint64_t value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (parsed.ec != std::errc() || value == 0) return bad;
  std::string unit = text.substr(static_cast<std::size_t>(parsed.ptr - text.data()));
  if (unit.ends_with('b')) unit.pop_back();
  if (unit.ends_with('i')) unit.pop_back();
  constexpr std::string_view kUnits = "kmgt";
  const std::size_t power = unit.empty() ? 0 : kUnits.find(unit) + 1;
  if (unit.size() > 1 || (!unit.empty() && power == 0)) return bad;
  constexpr std::uint64_t kMost = std::uint64_t{4} << 40;
  if (value > kMost >> (10 * power)) return bad;
  constexpr std::uint64_t kStep = 1 << 20;
  return ((value << (10 * power)) + kStep - 1) / kStep * kStep;
}

}  // namespace engine
