// Kernel files that are nearly sound, and shifts: what is loaded and relocated stays where it may
// be.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "vmm/arch/x86_64/kernel/kernel_image.h"
#include "vmm/arch/x86_64/kernel/tiny_kernel.h"
#include "vmm/base/unique_fd.h"

namespace {

constexpr std::uint64_t kBytes = 64 << 10;
constexpr std::uint64_t kLowest = 16 << 10;
constexpr std::uint64_t kLimit = 48 << 10;

/// Four bytes of input for one of the file: which, what it becomes, and what that is joined with.
std::string nearly_sound(std::span<const std::uint8_t> input) {
  std::string file = x86_64::TinyKernel(kLowest, kLowest + 0x1000).bytes();
  for (; input.size() >= 4; input = input.subspan(4)) {
    const std::size_t at = (input[0] | std::size_t{input[1]} << 8) % (file.size() + 16);
    if (at >= file.size())
      file.resize(file.size() - input[2] % 8u);  // cut short
    else
      file[at] = static_cast<char>(input[3] % 2 == 0 ? input[2] : file[at] ^ (1 << input[2] % 8));
  }
  return file;
}

bool untouched(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(),
                     [](std::byte byte) { return byte == std::byte{}; });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 4) return 0;
  const std::string bytes = nearly_sound({data + 4, std::min<std::size_t>(size - 4, 64)});
  const base::UniqueFd file(::memfd_create("kernel", MFD_CLOEXEC));
  if (::write(file.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()))
    std::abort();
  const auto kernel = x86_64::KernelFile::open(file.get());
  if (!kernel) return 0;
  std::vector<std::byte> ram(kBytes);
  const auto memory = memory::GuestMemory::create({{{0}, ram}});
  const x86_64::KernelShift shift{static_cast<std::uint64_t>(data[0]) << (data[1] & 63),
                                  static_cast<std::uint64_t>(data[2]) << (data[3] & 63)};
  const auto image = kernel->load(*memory, {kLowest}, {kLimit}, shift);
  const std::span<const std::byte> all(ram);
  if (!untouched(all.first(kLowest)) || !untouched(all.subspan(kLimit))) std::abort();
  if (image && (image->start.value < kLowest || image->end.value > kLimit)) std::abort();
  return 0;
}
