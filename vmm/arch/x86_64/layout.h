// Where things are in an x86-64 machine's physical address space and on its port bus.
//
//   0x0000_0500   GDT                                     (all below 1 MiB is the boot protocol's)
//   0x0000_7000   boot_params ("zero page")
//   0x0000_9000   identity page tables of the boot processor
//   0x0002_0000   command line
//   0x0004_0000   setup_data: device tree, RNG seed
//   0x0010_0000   RAM; the kernel at random from 16 MiB on; at the end initramfs and vmgenid page
//   0xc000_0000   end of low RAM at the latest
//   0xd000_0000   virtio-mmio slots, 4 KiB each
//   0xfec0_0000   IOAPIC            0xfee0_0000   local APICs
//   0xfffb_c000   KVM's identity map and task state (Intel)
//   0x1_0000_0000 the rest of the RAM; from the next GiB on the layers window
#pragma once

#include <cstddef>
#include <cstdint>

#include "vmm/base/units.h"

namespace x86_64 {

using namespace base;  // NOLINT: the unit literals

inline constexpr std::uint64_t kPageSize = 4096;

inline constexpr std::uint64_t kGdtAddress = 0x500;
inline constexpr std::uint64_t kBootParamsAddress = 0x7000;
inline constexpr std::uint64_t kPageTablesAddress = 0x9000;
inline constexpr std::uint64_t kCommandLineAddress = 0x20000;
inline constexpr std::size_t kCommandLineCapacity = 2048;  // COMMAND_LINE_SIZE of x86 Linux
inline constexpr std::uint64_t kSetupDataAddress = 0x40000;
inline constexpr std::uint64_t kLowUsableEnd = 0x9fc00;
inline constexpr std::uint64_t kHighStart = 1_MiB;

// Linux's KASLR: steps of CONFIG_PHYSICAL_ALIGN in KERNEL_IMAGE_SIZE of addresses from
// __START_KERNEL_map on.
inline constexpr std::uint64_t kKernelStep = 2_MiB;
inline constexpr std::uint64_t kKernelAddresses = 1_GiB;

inline constexpr std::uint64_t kLowRamLimit = 3_GiB;
inline constexpr std::uint64_t kHighRamStart = 4_GiB;
// Aligned like this, the window is mapped by the guest with its largest pages.
inline constexpr std::uint64_t kWindowAlignment = 1_GiB;
// How much of the window is a memory slot in every machine. KVM keeps bytes for each page of a slot
// (2, where other drivers may track writes), so the rest becomes a slot only in a machine that uses
// it.
inline constexpr std::uint64_t kWindowAtFirst = 128_MiB;

inline constexpr std::uint64_t kVirtioStart = 0xd0000000;
inline constexpr std::uint64_t kVirtioStride = 0x1000;
inline constexpr std::uint64_t kVirtioRegisters = 0x200;  // of the stride; the rest reads as 0
inline constexpr std::size_t kVirtioSlots = 16;

/// The IOAPIC's pin of a virtio-mmio slot: slots 0 to 7 have pins 16 to 23, the others 6 to 13.
constexpr std::uint32_t virtio_pin(std::uint32_t slot) { return slot < 8 ? 16 + slot : slot - 2; }

inline constexpr std::uint64_t kIoapicAddress = 0xfec00000;
inline constexpr std::uint64_t kIoapicSize = 0x100;
inline constexpr std::uint32_t kIoapicPins = 24;
inline constexpr std::uint64_t kLapicAddress = 0xfee00000;
inline constexpr std::uint64_t kIdentityMapAddress = 0xfffbc000;
inline constexpr std::uint64_t kTssAddress = 0xfffbd000;

inline constexpr std::uint32_t kGenerationPin = 5;

inline constexpr std::uint16_t kSerialPort = 0x3f8;
inline constexpr std::uint16_t kSerialPorts = 8;
inline constexpr std::uint16_t kKeyboardPort = 0x64;

inline constexpr std::uint32_t kMaxVcpus = 64;

}  // namespace x86_64
