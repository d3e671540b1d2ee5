// Loads a kernel from a file into guest memory, to where it was linked to be or elsewhere.
//
// Trust: files are checked as if hostile: nothing outside guest memory is written, and no number of
// theirs makes this process allocate more than 512 headers. Spec: System V ABI, ELF-64;
// relocations.h.
#pragma once

#include <elf.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "vmm/arch/x86_64/kernel/relocations.h"
#include "vmm/base/result.h"
#include "vmm/memory/guest_memory.h"

namespace x86_64 {

/// The e_machine of the ELF files that KernelFile reads.
inline constexpr std::uint16_t kElfMachine = EM_X86_64;

/// How far a kernel is moved from where it was linked to be. The two are independent of each other.
struct KernelShift {
  std::uint64_t in_memory = 0;     // bytes of physical addresses
  std::uint64_t in_addresses = 0;  // bytes of the virtual addresses that it runs at
};

struct KernelImage {
  memory::GuestAddress entry;  // where execution starts
  memory::GuestAddress start;  // the first byte that was loaded
  memory::GuestAddress end;    // past the last, its zeroed part included
};

/// An uncompressed x86-64 ELF executable whose headers have been read and checked.
class KernelFile {
 public:
  /// `file` is borrowed until the last load(). kInvalidArgument if it is no such kernel.
  static base::Result<KernelFile> open(int file);

  /// Physical addresses, as linked.
  const KernelImage& linked() const { return linked_; }
  /// Whether the file has a section ".relocs". Without it the kernel runs only at the addresses
  /// that it was linked for.
  bool relocatable() const { return relocations_.has_value(); }

  /// Loads the segments, all of which must then lie in [`lowest`, `limit`), and relocates them.
  /// The memory must be zero before.
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
