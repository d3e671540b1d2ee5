// TinyKernel: a kernel file for tests. The struct's bytes are the file.
#pragma once

#include <elf.h>

#include <cstdint>
#include <cstring>
#include <span>
#include <string>

namespace x86_64 {

/// An ELF executable of two segments, the second only zeros. Its relocations name one 64-bit value,
/// one 32-bit value that gets smaller and one 32-bit value: the first three of `code`. A test
/// changes any of the fields.
struct TinyKernel {
  static constexpr std::uint64_t kMap = 0xffffffff80000000;  // virtual address of physical 0
  static constexpr std::uint64_t kMemoryBytes = 0x1000;      // of the first segment

  Elf64_Ehdr header{};
  Elf64_Phdr segments[2]{};
  Elf64_Shdr sections[3]{};
  char names[24] = "\0.relocs\0.shstrtab";
  std::uint64_t code[8]{};
  std::int32_t relocations[6]{};

  /// Linked for physical `at`; `zeros` are 0x3000 bytes.
  TinyKernel(std::uint64_t at, std::uint64_t zeros) {
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_machine = EM_X86_64;
    header.e_type = ET_EXEC;
    header.e_entry = at + 8;
    header.e_phoff = offsetof(TinyKernel, segments);
    header.e_phentsize = sizeof(Elf64_Phdr);
    header.e_phnum = 2;
    header.e_shoff = offsetof(TinyKernel, sections);
    header.e_shentsize = sizeof(Elf64_Shdr);
    header.e_shnum = 3;
    header.e_shstrndx = 2;
    segments[0] = segment(at, sizeof code, kMemoryBytes);
    segments[1] = segment(zeros, 0, 0x3000);
    sections[1] = section(1, offsetof(TinyKernel, relocations), sizeof relocations);
    sections[2] = section(9, offsetof(TinyKernel, names), sizeof names);
    code[0] = kMap + at;
    code[1] = 0x1000'0000;
    code[2] = 0x8100'0000;
    for (std::uint64_t i = 3; i < 8; ++i) code[i] = 0xc3c3c3c3c3c3c3c3;
    for (std::uint64_t i = 0; i < 3; ++i) relocations[2 * i + 1] = entry(at + 8 * i);
  }

  /// The relocations' entry for the physical address `at`.
  static std::int32_t entry(std::uint64_t at) {
    return static_cast<std::int32_t>(static_cast<std::uint32_t>(kMap + at));
  }

  static Elf64_Phdr segment(std::uint64_t at, std::uint64_t in_file, std::uint64_t in_memory) {
    Elf64_Phdr header{};
    header.p_type = PT_LOAD;
    header.p_offset = offsetof(TinyKernel, code);
    header.p_vaddr = kMap + at;
    header.p_paddr = at;
    header.p_filesz = in_file;
    header.p_memsz = in_memory;
    return header;
  }

  static Elf64_Shdr section(std::uint32_t name, std::uint64_t offset, std::uint64_t size) {
    Elf64_Shdr header{};
    header.sh_name = name;
    header.sh_type = SHT_PROGBITS;
    header.sh_offset = offset;
    header.sh_size = size;
    return header;
  }

  void forget_relocations() { header.e_shnum = 0; }

  std::string bytes() const { return {reinterpret_cast<const char*>(this), sizeof *this}; }
};

}  // namespace x86_64
