// Loading a kernel from a file into guest memory, where it was linked to be or elsewhere.
//
// Trust: files are checked as if hostile: nothing outside guest memory is written, nothing is
// allocated by their numbers. Spec: System V ABI, ELF-64; relocations.h.
#pragma once

#include <elf.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "vmm/arch/x86_64/kernel/relocations.h"
#include "vmm/base/result.h"
#include "vmm/memory/guest_memory.h"

namespace x86_64 {

/// Of an ELF file that KernelFile reads.
inline constexpr std::uint16_t kElfMachine = EM_X86_64;

/// How far from where it was linked to be a kernel is put: in physical memory, and in the virtual
/// addresses that it runs at, which is independent of that.
struct KernelShift {
  std::uint64_t in_memory = 0;
  std::uint64_t in_addresses = 0;
};

struct KernelImage {
  memory::GuestAddress entry;  // where execution starts
  memory::GuestAddress start;  // the first byte that was loaded
  memory::GuestAddress end;    // past the last, its zeroed part included
};

/// An uncompressed x86-64 ELF executable. Its program is known, nothing is loaded yet.
class KernelFile {
 public:
  /// `file` is borrowed, until the last load().
  static base::Result<KernelFile> open(int file);

  /// Physical addresses, as linked.
  const KernelImage& linked() const { return linked_; }
  /// Whether it has a section ".relocs", without which it runs only at the addresses it was linked
  /// for.
  bool relocatable() const { return relocations_.has_value(); }

  /// Loads the segments, all of which must then lie in [`lowest`, `limit`), and relocates them.
  /// The memory is known to be zero.
  base::Result<KernelImage> load(const memory::GuestMemory& memory, memory::GuestAddress lowest,
                                 memory::GuestAddress limit, const KernelShift& shift) const;

 private:
  struct Segment {
    std::uint64_t address;  // physical, as linked
    std::uint64_t bytes;
    FileRange contents;  // the first bytes of it
  };

  explicit KernelFile(int file) : file_(file) {}

  int file_;
  std::vector<Segment> segments_;
  KernelImage linked_;
  std::uint64_t virtual_start_ = 0;  // of linked_.start
  std::optional<FileRange> relocations_;
};

}  // namespace x86_64
