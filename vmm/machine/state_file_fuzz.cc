// A template's state file, and the extents it says its memory file has: refused, or RAM that can be
// read to its last byte.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>

#include "vmm/base/fuzz_input.h"
#include "vmm/base/unique_fd.h"
#include "vmm/machine/guest_ram.h"
#include "vmm/machine/state_file.h"

namespace {

constexpr std::uint64_t kRam = 2u << 20;

std::vector<machine::Extent> any_extents(base::FuzzInput& input) {
  std::vector<machine::Extent> extents;
  for (unsigned left = input.take<std::uint8_t>() % 6u; left > 0; --left) {
    const bool plausible = input.take<std::uint8_t>() % 8 != 0;
    if (plausible)
      extents.push_back({.offset = input.take<std::uint16_t>() % 768u * 4096,
                         .length = input.take<std::uint8_t>() * std::uint64_t{4096}});
    else
      extents.push_back({input.take<std::uint64_t>(), input.take<std::uint64_t>()});
  }
  return extents;
}

void map_ram(std::span<const machine::Extent> extents) {
  static const base::UniqueFd file(::memfd_create("memory", MFD_CLOEXEC));
  if (::ftruncate(file.get(), kRam) != 0) std::abort();
  const auto ram = machine::map_cloned_ram(file.get(), kRam, extents);
  if (!ram) return;
  unsigned sum = 0;
  for (std::size_t at = 0; at < ram->size(); at += 64u << 10)
    sum += std::to_integer<unsigned>(ram->bytes()[at]);
  if (sum != 0) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  (void)machine::decode_state(bytes, std::nullopt);
  (void)machine::decode_state(bytes, std::string("another build"));
  // Behind the checksum: what its fields may be.
  if (const auto state = wire::decode<machine::StateFile>(bytes)) {
    const auto encoded = machine::encode_state(*state);
    const auto again = machine::decode_state(encoded, state->build);
    if (!again || again->extents != state->extents || again->devices != state->devices)
      std::abort();
    map_ram(state->extents);
  }
  base::FuzzInput input(data, size);
  map_ram(any_extents(input));
  return 0;
}
