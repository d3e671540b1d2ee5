#include "vmm/boot/kernel_image.h"

#include <elf.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <string>

namespace boot {
namespace {

constexpr std::size_t kMaxSegments = 64;

base::Error malformed(std::string what) {
  return {base::Code::kInvalidArgument, "kernel image: " + std::move(what)};
}

base::Result<Elf64_Ehdr> read_header(int file) {
  Elf64_Ehdr header{};
  RETURN_IF_ERROR(read_fully(file, 0, std::as_writable_bytes(std::span(&header, 1))));
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) return malformed("not an ELF file");
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB ||
      header.e_machine != EM_X86_64)
    return malformed("not for x86-64");
  if (header.e_type != ET_EXEC && header.e_type != ET_DYN) return malformed("not executable");
  if (header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phnum > kMaxSegments)
    return malformed("unusable program headers");
  return header;
}

/// Checks the segment against memory and reads it in. Overflow-safe: every sum is of values that
/// were already bounded.
base::Result<void> load_segment(const memory::GuestMemory& memory, int file,
                                const Elf64_Phdr& segment, memory::GuestAddress lowest,
                                memory::GuestAddress limit) {
  if (segment.p_filesz > segment.p_memsz) return malformed("segment longer in file than in memory");
  if (segment.p_paddr < lowest.value || segment.p_paddr > limit.value ||
      segment.p_memsz > limit.value - segment.p_paddr)
    return malformed("segment outside usable memory");
  const auto destination = memory.slice({segment.p_paddr}, segment.p_memsz);
  if (!destination) return malformed("segment outside guest memory");
  auto loaded = read_fully(file, segment.p_offset, destination->first(segment.p_filesz));
  if (!loaded) return base::annotate(std::move(loaded), "kernel segment");
  return {};
}

}  // namespace

base::Result<KernelImage> load_kernel(const memory::GuestMemory& memory, int file,
                                      memory::GuestAddress lowest, memory::GuestAddress limit) {
  const auto header = read_header(file);
  if (!header) return header.error();
  Elf64_Phdr segments[kMaxSegments]{};
  const std::span used(segments, header->e_phnum);
  if (auto read = read_fully(file, header->e_phoff, std::as_writable_bytes(used)); !read)
    return base::annotate(std::move(read), "kernel program headers");

  KernelImage image{{header->e_entry}, {std::numeric_limits<std::uint64_t>::max()}, {0}};
  bool entry_loaded = false;
  for (const Elf64_Phdr& segment : used) {
    if (segment.p_type != PT_LOAD || segment.p_memsz == 0) continue;
    RETURN_IF_ERROR(load_segment(memory, file, segment, lowest, limit));
    image.start.value = std::min<std::uint64_t>(image.start.value, segment.p_paddr);
    image.end.value = std::max<std::uint64_t>(image.end.value, segment.p_paddr + segment.p_memsz);
    entry_loaded = entry_loaded || (header->e_entry >= segment.p_paddr &&
                                    header->e_entry - segment.p_paddr < segment.p_memsz);
  }
  if (!entry_loaded) return malformed("entry point outside its segments");
  return image;
}

base::Result<std::uint64_t> file_size(int file) {
  struct stat status {};
  if (::fstat(file, &status) != 0) return base::errno_error("fstat");
  if (!S_ISREG(status.st_mode))
    return base::Error{base::Code::kInvalidArgument, "not a regular file"};
  return static_cast<std::uint64_t>(status.st_size);
}

base::Result<void> read_fully(int file, std::uint64_t offset, std::span<std::byte> destination) {
  if (offset > static_cast<std::uint64_t>(std::numeric_limits<off_t>::max()) - destination.size())
    return base::Error{base::Code::kDataLoss, "offset beyond any file"};
  while (!destination.empty()) {
    const ssize_t got =
        ::pread(file, destination.data(), destination.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return base::errno_error("pread");
    if (got == 0) return base::Error{base::Code::kDataLoss, "file ends too early"};
    destination = destination.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
  return {};
}

}  // namespace boot
