// The state file of a template: everything of a machine but its memory.
//
// Layout: u64 magic, u32 version, u64 checksum of the rest, then StateFile in wire encoding.
// A file of another version or of another build of this program is refused (kNotSupported), and so
// is a damaged one (kDataLoss). The checksum finds accidents, not attackers: whoever can write
// templates owns the machines that are made of them. A file is at most 64 MiB long.
// Threads: any. Descriptors are borrowed.
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
inline constexpr std::uint32_t kStateVersion = 4;

struct StateFile {
  std::string build;  // build_id() of the program that saved it
  launch::Shape shape;
  std::vector<Extent> extents;  // where the memory file holds data
  std::vector<std::byte> platform;
  std::vector<std::vector<std::byte>> devices;
  std::vector<std::uint32_t> streams;  // tags that can be adopted
  static void fields(auto& self, auto&& visit) {
    visit(self.build, self.shape, self.extents, self.platform, self.devices, self.streams);
  }
};

/// Identifies this program's code: the linker's build ID in hexadecimal, empty if it has none.
const std::string& build_id();

std::vector<std::byte> encode_state(const StateFile& state);
/// Accepts only states saved by `build`; with nullopt, by any.
base::Result<StateFile> decode_state(std::span<const std::byte> bytes,
                                     const std::optional<std::string>& build);

base::Result<void> write_state(int file, const StateFile& state);
base::Result<StateFile> read_state(int file, const std::optional<std::string>& build);

}  // namespace machine
