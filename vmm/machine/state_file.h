// The state file of a template: everything of a machine but its memory.
//
// Layout: u64 magic, u32 version, u64 checksum of the rest, then StateFile in wire encoding.
// A file of another version or another build of this program is refused (kNotSupported), a damaged
// one too (kDataLoss). The checksum finds accidents, not attackers: who can write templates owns
// the machines that are made of them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "vmm/base/result.h"
#include "vmm/base/wire.h"
#include "vmm/launch/messages.h"
#include "vmm/machine/guest_ram.h"

namespace machine {

/// Raised with every change of what is saved or of its encoding.
inline constexpr std::uint32_t kStateVersion = 3;

struct StateFile {
  std::string build;  // build_id() of the program that saved it
  launch::Shape shape;
  std::vector<Extent> extents;  // of the memory file
  std::vector<std::byte> platform;
  std::vector<std::vector<std::byte>> devices;
  std::vector<std::uint32_t> streams;  // tags that can be adopted
  static void fields(auto& self, auto&& visit) {
    visit(self.build, self.shape, self.extents, self.platform, self.devices, self.streams);
  }
};

/// Identifies this program's code: the linker's build ID, hexadecimal.
const std::string& build_id();

std::vector<std::byte> encode_state(const StateFile& state);
/// `build`: the only one that is accepted; nullopt: any.
base::Result<StateFile> decode_state(std::span<const std::byte> bytes,
                                     const std::optional<std::string>& build);

base::Result<void> write_state(int file, const StateFile& state);
base::Result<StateFile> read_state(int file, const std::optional<std::string>& build);

}  // namespace machine
