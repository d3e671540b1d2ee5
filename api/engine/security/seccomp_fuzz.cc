// Client-controlled text: a container's seccomp profile, and the filter that is made of it.
#include <cstdint>
#include <string_view>

#include "api/engine/security/seccomp_filter.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // Half of the inputs are the inside of a profile, so that they get beyond its first brace.
  std::string text(reinterpret_cast<const char*>(data), size);
  if (size > 0 && data[0] % 2 == 0)
    text = R"({"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{)" + text.substr(1) + "}]}";
  const auto profile = engine::parse_seccomp_profile(text);
  if (!profile || !*profile) return 0;
  const engine::SeccompTarget target{.capabilities = 0xa80425fb, .kernel = {6, 12}};
  const auto filter = engine::compile_seccomp_filter(**profile, target);
  if (!filter) return 0;
  const std::size_t bytes = filter->program.size();
  if (bytes == 0 || bytes % 8 != 0 || bytes > 4096 * 8) __builtin_trap();
  return 0;
}
