#include "vmm/arch/x86_64/kernel/kernel_image.h"

#include <elf.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>

#include "vmm/base/read_file.h"

namespace x86_64 {
namespace {

constexpr std::size_t kMaxSegments = 64;
constexpr std::size_t kMaxSections = 512;
// No processor has more address lines. Sums of numbers below this do not wrap.
constexpr std::uint64_t kAddressLimit = std::uint64_t{1} << 52;

base::Error malformed(std::string what) {
  return {base::Code::kInvalidArgument, "kernel image: " + std::move(what)};
}

base::Result<Elf64_Ehdr> read_header(int file) {
  Elf64_Ehdr header{};
  RETURN_IF_ERROR(base::read_fully(file, 0, std::as_writable_bytes(std::span(&header, 1))));
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) return malformed("not an ELF file");
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB ||
      header.e_machine != kElfMachine)
    return malformed("not for x86-64");
  if (header.e_type != ET_EXEC && header.e_type != ET_DYN) return malformed("not an executable");
  if (header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phnum > kMaxSegments)
    return malformed("unusable program headers");
  return header;
}

/// The segments that have bytes in memory.
base::Result<std::vector<Elf64_Phdr>> read_segments(int file, const Elf64_Ehdr& header) {
  std::vector<Elf64_Phdr> segments(header.e_phnum);
  if (auto read =
          base::read_fully(file, header.e_phoff, std::as_writable_bytes(std::span(segments)));
      !read)
    return base::annotate(std::move(read).error(), "kernel program headers");
  std::erase_if(segments, [](const Elf64_Phdr& segment) {
    return segment.p_type != PT_LOAD || segment.p_memsz == 0;
  });
  for (const Elf64_Phdr& segment : segments) {
    if (segment.p_filesz > segment.p_memsz)
      return malformed("segment longer in file than in memory");
    if (segment.p_paddr > kAddressLimit || segment.p_memsz > kAddressLimit)
      return malformed("segment outside usable memory");
  }
  return segments;
}

/// Where in the file the section `name` is (its terminating zero counts).
base::Result<std::optional<FileRange>> find_section(int file, const Elf64_Ehdr& header,
                                                    std::span<const char> name) {
  if (header.e_shnum == 0) return std::optional<FileRange>();
  if (header.e_shentsize != sizeof(Elf64_Shdr) || header.e_shnum > kMaxSections ||
      header.e_shstrndx >= header.e_shnum)
    return malformed("unusable section headers");
  std::vector<Elf64_Shdr> sections(header.e_shnum);
  if (auto read =
          base::read_fully(file, header.e_shoff, std::as_writable_bytes(std::span(sections)));
      !read)
    return base::annotate(std::move(read).error(), "kernel section headers");
  const Elf64_Shdr& names = sections[header.e_shstrndx];
  std::vector<char> found(name.size());
  for (const Elf64_Shdr& section : sections) {
    if (names.sh_size < found.size() || section.sh_name > names.sh_size - found.size()) continue;
    if (names.sh_offset > std::numeric_limits<std::uint64_t>::max() - section.sh_name)
      return malformed("the names of its sections lie outside of the file");
    if (auto read = base::read_fully(file, names.sh_offset + section.sh_name,
                                     std::as_writable_bytes(std::span(found)));
        !read)
      return base::annotate(std::move(read).error(), "kernel section names");
    if (!std::equal(name.begin(), name.end(), found.begin())) continue;
    if (section.sh_type != SHT_PROGBITS) return malformed("its section .relocs has no contents");
    return std::optional(FileRange{section.sh_offset, section.sh_size});
  }
  return std::optional<FileRange>();
}

}  // namespace

base::Result<KernelFile> KernelFile::open(int file) {
  const auto header = read_header(file);
  if (!header) return header.error();
  const auto segments = read_segments(file, *header);
  if (!segments) return segments.error();
  auto relocations = find_section(file, *header, ".relocs");
  if (!relocations) return std::move(relocations).error();

  KernelFile kernel(file);
  kernel.relocations_ = *relocations;
  kernel.linked_ = {{header->e_entry}, {std::numeric_limits<std::uint64_t>::max()}, {0}};
  bool entry_loaded = false;
  for (const Elf64_Phdr& segment : *segments) {
    kernel.segments_.push_back(
        {segment.p_paddr, segment.p_memsz, {segment.p_offset, segment.p_filesz}});
    if (segment.p_paddr < kernel.linked_.start.value) {
      kernel.linked_.start = {segment.p_paddr};
      kernel.virtual_start_ = segment.p_vaddr;
    }
    kernel.linked_.end.value =
        std::max(kernel.linked_.end.value, segment.p_paddr + segment.p_memsz);
    entry_loaded = entry_loaded || (header->e_entry >= segment.p_paddr &&
                                    header->e_entry - segment.p_paddr < segment.p_memsz);
  }
  if (!entry_loaded) return malformed("entry point outside its segments");
  return kernel;
}

base::Result<KernelImage> KernelFile::load(const memory::GuestMemory& memory,
                                           memory::GuestAddress lowest, memory::GuestAddress limit,
                                           const KernelShift& shift) const {
  if (shift.in_memory > kAddressLimit) return malformed("it would be moved outside usable memory");
  for (const Segment& segment : segments_) {
    const std::uint64_t address = segment.address + shift.in_memory;
    if (address < lowest.value || address > limit.value || segment.bytes > limit.value - address)
      return malformed("segment outside usable memory");
    const auto destination = memory.slice({address}, segment.bytes);
    if (!destination) return malformed("segment outside guest memory");
    auto loaded =
        base::read_fully(file_, segment.contents.offset, destination->first(segment.contents.size));
    if (!loaded) return base::annotate(std::move(loaded).error(), "kernel segment");
  }
  const KernelImage image{{linked_.entry.value + shift.in_memory},
                          {linked_.start.value + shift.in_memory},
                          {linked_.end.value + shift.in_memory}};
  if (shift.in_addresses == 0) return image;
  if (!relocations_) return malformed("no section .relocs, so its addresses cannot be moved");
  const auto bytes = memory.slice(image.start, image.end.value - image.start.value);
  if (!bytes) return malformed("its segments lie in different ranges of guest memory");
  RETURN_IF_ERROR(relocate(file_, *relocations_, *bytes, virtual_start_, shift.in_addresses));
  return image;
}

}  // namespace x86_64
