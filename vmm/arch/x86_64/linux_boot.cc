#include "vmm/arch/x86_64/linux_boot.h"

#include <asm/bootparam.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "vmm/arch/x86_64/kernel/kernel_image.h"
#include "vmm/arch/x86_64/layout.h"
#include "vmm/base/read_file.h"

namespace x86_64 {
namespace {

using memory::GuestAddress;
using memory::GuestMemory;

constexpr std::uint32_t kUsable = 1;
constexpr std::uint32_t kReserved = 2;

constexpr std::uint16_t kBootFlag = 0xaa55;
constexpr std::uint32_t kHeaderMagic = 0x53726448;  // "HdrS"
constexpr std::uint16_t kBootProtocol = 0x020f;
constexpr std::uint8_t kUndefinedLoader = 0xff;
constexpr std::uint32_t kSetupRngSeed = 9;  // SETUP_RNG_SEED, newer than Debian 12's headers

base::Result<void> write_page_tables(const GuestMemory& memory) {
  constexpr std::uint64_t kPresentWritable = 0x3;
  constexpr std::uint64_t kHuge = 0x80;
  constexpr std::size_t kDirectories = 4;  // 1 GiB each: all that the kernel's start touches
  using Table = std::array<std::uint64_t, 512>;

  Table top{};
  top[0] = (kPageTablesAddress + kPageSize) | kPresentWritable;
  RETURN_IF_ERROR(memory.write(GuestAddress{kPageTablesAddress}, top));
  Table pointers{};
  for (std::size_t gib = 0; gib < kDirectories; ++gib) {
    const std::uint64_t address = kPageTablesAddress + (2 + gib) * kPageSize;
    pointers[gib] = address | kPresentWritable;
    Table directory{};
    for (std::size_t i = 0; i < directory.size(); ++i)
      directory[i] = (gib << 30) | (i << 21) | kPresentWritable | kHuge;
    RETURN_IF_ERROR(memory.write(GuestAddress{address}, directory));
  }
  return memory.write(GuestAddress{kPageTablesAddress + kPageSize}, pointers);
}

base::Result<void> write_gdt(const GuestMemory& memory) {
  // __BOOT_CS = 0x10, __BOOT_DS = 0x18, a task segment that VMX insists on.
  constexpr std::array<std::uint64_t, 5> kGdt = {0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff,
                                                 0x008f8b000000ffff};
  return memory.write(GuestAddress{kGdtAddress}, kGdt);
}

/// Places setup_data entries one after the other; returns the address of the first.
base::Result<std::uint64_t> write_setup_data(const GuestMemory& memory, const LinuxBoot& boot) {
  struct Item {
    std::uint32_t type;
    std::span<const std::byte> bytes;
  };
  const std::array<Item, 2> items{Item{SETUP_DTB, boot.device_tree},
                                  Item{kSetupRngSeed, boot.rng_seed}};
  std::uint64_t at = kSetupDataAddress;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const std::uint64_t end = at + sizeof(setup_data) + items[i].bytes.size();
    if (end > kLowUsableEnd)
      return base::Error{base::Code::kInvalidArgument, "device tree too large"};
    const std::uint64_t following = round_up(end, 16);
    setup_data header{};
    header.type = items[i].type;
    header.len = static_cast<std::uint32_t>(items[i].bytes.size());
    header.next = i + 1 < items.size() ? following : 0;
    RETURN_IF_ERROR(memory.write(GuestAddress{at}, header));
    RETURN_IF_ERROR(memory.copy_in({at + sizeof header}, items[i].bytes));
    at = following;
  }
  return kSetupDataAddress;
}

struct Initramfs {
  std::uint64_t address = 0;
  std::uint64_t size = 0;
};

/// Finds the highest place in low RAM for the initramfs, below the generation ID's page.
base::Result<Initramfs> place_initramfs(const RamLayout& ram, int file) {
  const std::uint64_t top = generation_page(ram).value;
  if (file < 0) return Initramfs{top, 0};
  const auto size = base::file_size(file);
  if (!size) return size.error();
  if (*size > top)
    return base::Error{base::Code::kResourceExhausted, "initramfs does not fit into memory"};
  return Initramfs{(top - *size) & ~(kPageSize - 1), *size};
}

base::Result<void> load_initramfs(const GuestMemory& memory, int file, const Initramfs& placed,
                                  GuestAddress kernel_end) {
  if (placed.address < kernel_end.value)
    return base::Error{base::Code::kResourceExhausted, "initramfs does not fit into memory"};
  if (placed.size == 0) return {};
  const auto destination = memory.slice({placed.address}, placed.size);
  if (!destination) return destination.error();
  return base::read_fully(file, 0, *destination);
}

/// Chooses one of the shifts, in whole steps, by which what ends at `end` ends at `limit` at most.
std::uint64_t random_shift(std::uint64_t random, std::uint64_t end, std::uint64_t limit) {
  if (end > limit) return 0;
  const std::uint64_t places = (limit - end) / kKernelStep + 1;
  return random % places * kKernelStep;
}

/// Chooses the shifts of memory and addresses. The kernel must be no lower than it was linked for,
/// and its addresses in the part of the address space that is for it.
KernelShift choose_shift(const LayoutSeed& seed, const KernelImage& linked,
                         const Initramfs& initramfs) {
  return {.in_memory = random_shift(seed.memory, linked.end.value, initramfs.address),
          .in_addresses = random_shift(seed.addresses, linked.end.value, kKernelAddresses)};
}

base::Result<void> write_command_line(const GuestMemory& memory, const std::string& text) {
  if (text.size() >= kCommandLineCapacity)
    return base::Error{base::Code::kInvalidArgument, "kernel command line too long"};
  return memory.copy_in({kCommandLineAddress},
                        std::as_bytes(std::span(text.c_str(), text.size() + 1)));
}

boot_params make_boot_params(const RamLayout& ram, const Initramfs& initramfs,
                             const LinuxBoot& boot, std::uint64_t setup_data_address) {
  boot_params params{};
  params.hdr.boot_flag = kBootFlag;
  params.hdr.header = kHeaderMagic;
  params.hdr.version = kBootProtocol;
  params.hdr.type_of_loader = kUndefinedLoader;
  params.hdr.kernel_alignment = static_cast<std::uint32_t>(kKernelStep);
  params.hdr.cmd_line_ptr = static_cast<std::uint32_t>(kCommandLineAddress);
  params.hdr.cmdline_size = static_cast<std::uint32_t>(boot.command_line.size());
  if (initramfs.size > 0) params.hdr.ramdisk_image = static_cast<std::uint32_t>(initramfs.address);
  params.hdr.ramdisk_size = static_cast<std::uint32_t>(initramfs.size);
  // Tells the kernel to choose random places for what it maps itself: direct map, vmalloc, vmemmap.
  if (boot.layout) params.hdr.loadflags |= KASLR_FLAG;
  params.hdr.setup_data = setup_data_address;
  const std::vector<E820Range> map = e820_map(ram);
  for (std::size_t i = 0; i < map.size(); ++i)
    params.e820_table[i] = {map[i].start, map[i].size, map[i].type};
  params.e820_entries = static_cast<std::uint8_t>(map.size());
  return params;
}

}  // namespace

RamLayout ram_layout(std::uint64_t bytes) {
  const std::uint64_t low = std::min<std::uint64_t>(bytes, kLowRamLimit);
  return {low, bytes - low};
}

GuestAddress window_address(const RamLayout& ram) {
  return {round_up(kHighRamStart + ram.high_bytes, kWindowAlignment)};
}

GuestAddress generation_page(const RamLayout& ram) { return {ram.low_bytes - kPageSize}; }

std::vector<E820Range> e820_map(const RamLayout& ram) {
  const std::uint64_t generation = generation_page(ram).value;
  std::vector<E820Range> map = {
      {0, kLowUsableEnd, kUsable},
      {kLowUsableEnd, kHighStart - kLowUsableEnd, kReserved},
      {kHighStart, generation - kHighStart, kUsable},
      {generation, kPageSize, kReserved},
  };
  if (ram.high_bytes > 0) map.push_back({kHighRamStart, ram.high_bytes, kUsable});
  return map;
}

base::Result<GuestAddress> load_linux(const GuestMemory& memory, const RamLayout& ram,
                                      const LinuxBoot& boot) {
  const auto file = KernelFile::open(boot.kernel);
  if (!file) return file.error();
  if (boot.layout && !file->relocatable())
    return base::Error{base::Code::kInvalidArgument,
                       "kernel image: no section .relocs, so its addresses cannot be random; "
                       "nokaslr on the command line boots it as it is"};
  const auto initramfs = place_initramfs(ram, boot.initramfs);
  if (!initramfs) return initramfs.error();
  const auto shift =
      boot.layout ? choose_shift(*boot.layout, file->linked(), *initramfs) : KernelShift{};
  const auto kernel = file->load(memory, {kHighStart}, generation_page(ram), shift);
  if (!kernel) return kernel.error();
  RETURN_IF_ERROR(load_initramfs(memory, boot.initramfs, *initramfs, kernel->end));
  RETURN_IF_ERROR(write_page_tables(memory));
  RETURN_IF_ERROR(write_gdt(memory));
  RETURN_IF_ERROR(write_command_line(memory, boot.command_line));
  const auto setup_data_address = write_setup_data(memory, boot);
  if (!setup_data_address) return setup_data_address.error();
  RETURN_IF_ERROR(memory.write(GuestAddress{kBootParamsAddress},
                               make_boot_params(ram, *initramfs, boot, *setup_data_address)));
  return kernel->entry;
}

}  // namespace x86_64
