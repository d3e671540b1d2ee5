// The 64-bit Linux boot protocol: everything in memory that the kernel finds when it starts.
//
// Spec: the kernel's Documentation/arch/x86/boot.rst ("64-bit Boot Protocol") and zero-page.rst.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "vmm/base/result.h"
#include "vmm/memory/guest_memory.h"

namespace x86_64 {

/// How `bytes` of RAM lie around the hole below 4 GiB.
struct RamLayout {
  std::uint64_t low_bytes = 0;   // from address 0
  std::uint64_t high_bytes = 0;  // from kHighRamStart
};
RamLayout ram_layout(std::uint64_t bytes);

/// Where the layers window is: above all RAM, and no RAM to the kernel.
memory::GuestAddress window_address(const RamLayout& ram);

/// The 4 KiB of low RAM that hold the generation ID: its last page, kept from the kernel.
memory::GuestAddress generation_page(const RamLayout& ram);

struct E820Range {
  std::uint64_t start = 0;
  std::uint64_t size = 0;
  std::uint32_t type = 0;  // 1 usable, 2 reserved
  bool operator==(const E820Range&) const = default;
};
std::vector<E820Range> e820_map(const RamLayout& ram);

/// Two random numbers: where the kernel is in physical memory, and at which addresses it runs.
struct LayoutSeed {
  std::uint64_t memory = 0;
  std::uint64_t addresses = 0;
};

struct LinuxBoot {
  int kernel = -1;     // files, borrowed
  int initramfs = -1;  // -1: none
  std::string command_line;
  std::span<const std::byte> device_tree;
  std::span<const std::byte> rng_seed;
  /// KASLR: the kernel's places follow from the seed, and it chooses random ones for what it maps
  /// itself. A kernel without relocations is then refused. nullopt: all where it was linked to be.
  std::optional<LayoutSeed> layout;
};

/// Loads kernel and initramfs and writes boot_params, page tables, GDT, command line and
/// setup_data. Returns the entry point. Memory must be zero.
base::Result<memory::GuestAddress> load_linux(const memory::GuestMemory& memory,
                                              const RamLayout& ram, const LinuxBoot& boot);

}  // namespace x86_64
