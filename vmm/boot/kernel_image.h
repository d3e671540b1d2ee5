// Loading a kernel and an initramfs from files into guest memory.
//
// Trust: files are checked as if hostile: nothing outside guest memory is written, nothing is
// allocated by their numbers. Spec: System V ABI, ELF-64.
#pragma once

#include <cstdint>

#include "vmm/base/result.h"
#include "vmm/memory/guest_memory.h"

namespace boot {

struct KernelImage {
  memory::GuestAddress entry;  // where execution starts
  memory::GuestAddress start;  // the first byte that was loaded
  memory::GuestAddress end;    // past the last, its zeroed part included
};

/// Loads an uncompressed x86-64 ELF executable's segments at their physical addresses, all of
/// which must lie in [`lowest`, `limit`). The memory is known to be zero.
base::Result<KernelImage> load_kernel(const memory::GuestMemory& memory, int file,
                                      memory::GuestAddress lowest, memory::GuestAddress limit);

/// Size of a regular file.
base::Result<std::uint64_t> file_size(int file);

/// Fills `destination` from `file` at `offset`; kDataLoss if the file ends before.
base::Result<void> read_fully(int file, std::uint64_t offset, std::span<std::byte> destination);

}  // namespace boot
