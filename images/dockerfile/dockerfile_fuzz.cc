// Dockerfiles: whatever their bytes, they are refused or become instructions.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "images/dockerfile/config_changes.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto file = dockerfile::parse(text);
  if (!file) return 0;
  const auto made = dockerfile::stages_of(*file);
  if (!made) return 0;
  nlohmann::json config{{"Env", {"A=1", "PATH=/bin"}}};
  dockerfile::ConfigChanges changes;
  for (const dockerfile::Stage& stage : made->stages) {
    for (const dockerfile::Instruction& instruction : stage.instructions) {
      const auto expanded =
          dockerfile::expanded(instruction, made->escape, dockerfile::strings_of(config, "Env"));
      // (A wide EXPOSE only takes long.)
      if (expanded && expanded->kind != dockerfile::Kind::kExpose)
        (void)changes.apply(*expanded, config);
    }
  }
  return 0;
}
