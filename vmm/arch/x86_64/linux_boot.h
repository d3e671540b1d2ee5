// The 64-bit Linux boot protocol: writes all that the kernel finds in memory when it starts.
//
// Trust: kernel and initramfs are files of the host, but are checked as if they were hostile.
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

/// How a machine's RAM lies around the hole below 4 GiB.
struct RamLayout {
  std::uint64_t low_bytes = 0;   // from address 0
  std::uint64_t high_bytes = 0;  // from kHighRamStart
};
RamLayout ram_layout(std::uint64_t bytes);

/// Where the layers window is: above all RAM, at an address that the memory map does not list as
/// RAM.
memory::GuestAddress window_address(const RamLayout& ram);

/// The page that holds the generation ID: the last one of low RAM, which the memory map reserves.
memory::GuestAddress generation_page(const RamLayout& ram);

struct E820Range {
  std::uint64_t start = 0;
  std::uint64_t size = 0;
  std::uint32_t type = 0;  // 1 usable, 2 reserved
  bool operator==(const E820Range&) const = default;
};
std::vector<E820Range> e820_map(const RamLayout& ram);

/// Two random numbers, from which follow the kernel's place in physical memory and the virtual
/// addresses that it runs at.
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
  /// KASLR: the kernel's places follow from the seed, and the kernel is told to choose random ones
  /// for what it maps itself. A kernel without relocations is refused. nullopt: all stays where it
  /// was linked to be.
  std::optional<LayoutSeed> layout;
};

/// Loads kernel and initramfs and writes boot_params, page tables, GDT, command line and
/// setup_data. Returns the entry point. All of the memory must be zero before. kResourceExhausted:
/// the initramfs does not fit; kInvalidArgument: the kernel or the command line cannot be used.
base::Result<memory::GuestAddress> load_linux(const memory::GuestMemory& memory,
                                              const RamLayout& ram, const LinuxBoot& boot);

}  // namespace x86_64
