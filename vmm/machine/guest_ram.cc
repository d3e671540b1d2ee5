#include "vmm/machine/guest_ram.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string>

namespace machine {
namespace {

constexpr std::size_t kPage = 4096;

bool is_zero(std::span<const std::byte> page) {
  // Compares the page with itself, one word on: equal all along means all equal to the first.
  std::uint64_t first = 0;
  std::memcpy(&first, page.data(), sizeof first);
  return first == 0 &&
         std::memcmp(page.data(), page.data() + sizeof first, page.size() - sizeof first) == 0;
}

base::Result<void> write_at(int file, std::uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(file, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return base::errno_error("write of a memory file");
    bytes = bytes.subspan(static_cast<std::size_t>(written));
    offset += static_cast<std::uint64_t>(written);
  }
  return {};
}

base::Result<void> check(int file, std::uint64_t bytes, std::span<const Extent> extents) {
  struct stat status {};
  if (::fstat(file, &status) != 0) return base::errno_error("fstat of a memory file");
  if (static_cast<std::uint64_t>(status.st_size) != bytes)
    return base::Error{base::Code::kDataLoss,
                       "the memory file and the machine's memory differ in size"};
  std::uint64_t end = 0;
  for (const Extent& extent : extents) {
    const bool sound = extent.offset % kPage == 0 && extent.length % kPage == 0 &&
                       extent.length > 0 && extent.offset >= end && extent.offset <= bytes &&
                       extent.length <= bytes - extent.offset;
    if (!sound)
      return base::Error{base::Code::kDataLoss, "the extents of a memory file are malformed"};
    end = extent.offset + extent.length;
  }
  return {};
}

}  // namespace

base::Result<base::MappedRegion> map_fresh_ram(std::uint64_t bytes) {
  auto ram = base::MappedRegion::map(bytes, PROT_READ | PROT_WRITE,
                                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
  if (!ram) return base::annotate(std::move(ram), "guest memory");
  return ram;
}

std::vector<Extent> find_used(std::span<const std::byte> ram, std::uint64_t gap) {
  std::vector<Extent> extents;
  for (std::uint64_t offset = 0; offset + kPage <= ram.size(); offset += kPage) {
    if (is_zero(ram.subspan(offset, kPage))) continue;
    if (!extents.empty() && offset - (extents.back().offset + extents.back().length) < gap)
      extents.back().length = offset + kPage - extents.back().offset;
    else
      extents.push_back({offset, kPage});
  }
  return extents;
}

base::Result<void> write_ram(int file, std::span<const std::byte> ram,
                             std::span<const Extent> extents) {
  if (::ftruncate(file, static_cast<off_t>(ram.size())) != 0)
    return base::errno_error("size of a memory file");
  for (const Extent& extent : extents)
    RETURN_IF_ERROR(write_at(file, extent.offset, ram.subspan(extent.offset, extent.length)));
  return {};
}

base::Result<base::MappedRegion> map_cloned_ram(int file, std::uint64_t bytes,
                                                std::span<const Extent> extents) {
  RETURN_IF_ERROR(check(file, bytes, extents));
  auto ram = map_fresh_ram(bytes);
  if (!ram) return ram;
  // A single huge page would cost an idle clone more memory than everything else together.
  ::madvise(ram->data(), ram->size(), MADV_NOHUGEPAGE);
  for (const Extent& extent : extents) {
    void* at =
        ::mmap(ram->data() + extent.offset, extent.length, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, file, static_cast<off_t>(extent.offset));
    if (at == MAP_FAILED) return base::errno_error("mmap of a memory file");
  }
  return ram;
}

}  // namespace machine
