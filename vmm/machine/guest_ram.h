// A machine's RAM as one mapping of this process, and the memory file of a template.
//
// The file has the RAM's size; only its extents hold data, the rest are holes. A clone maps the
// extents MAP_PRIVATE, so all clones share their pages in the page cache until they write, and the
// rest anonymously, so that memory nobody touched costs nothing anywhere.
// Threads: the device thread; no vCPU runs.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "vmm/base/mapped_region.h"

namespace machine {

/// A range of the memory file that holds data, in bytes; multiples of the page size.
struct Extent {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  bool operator==(const Extent&) const = default;
  static void fields(auto& self, auto&& visit) { visit(self.offset, self.length); }
};

/// RAM that reads as zeros; a page costs nothing until it is touched.
base::Result<base::MappedRegion> map_fresh_ram(std::uint64_t bytes);

/// The pages of `ram` that hold anything but zeros, joined where less than `gap` bytes lie between
/// them, since each extent is one mmap() at the start of every clone.
std::vector<Extent> find_used(std::span<const std::byte> ram, std::uint64_t gap);

/// Writes the extents of `ram` into the empty `file` and gives it the RAM's size.
base::Result<void> write_ram(int file, std::span<const std::byte> ram,
                             std::span<const Extent> extents);

/// Private RAM that starts with the contents of `file`. kDataLoss if extents or file do not fit.
base::Result<base::MappedRegion> map_cloned_ram(int file, std::uint64_t bytes,
                                                std::span<const Extent> extents);

}  // namespace machine
