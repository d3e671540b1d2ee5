#include "vmm/memory/guest_memory.h"

#include <limits>
#include <string>

namespace memory {

namespace {

base::Error outside(GuestAddress address, std::uint64_t size) {
  return {base::Code::kInvalidArgument, "guest address " + std::to_string(address.value) + " + " +
                                            std::to_string(size) + " is outside its memory"};
}

}  // namespace

base::Result<GuestMemory> GuestMemory::create(std::vector<Region> regions) {
  std::uint64_t free_from = 0;
  for (const Region& region : regions) {
    const std::uint64_t start = region.start.value;
    const std::uint64_t size = region.host.size();
    if (size == 0 || start < free_from || size > std::numeric_limits<std::uint64_t>::max() - start)
      return base::Error{base::Code::kInvalidArgument,
                         "memory regions must be ascending, not empty, not overlapping"};
    free_from = start + size;
  }
  return GuestMemory(std::move(regions));
}

std::uint64_t GuestMemory::size() const {
  std::uint64_t total = 0;
  for (const Region& region : regions_) total += region.host.size();
  return total;
}

base::Result<std::span<std::byte>> GuestMemory::slice(GuestAddress address,
                                                      std::uint64_t size) const {
  const std::span<std::byte> bytes = find(address, size);
  if (bytes.data() == nullptr) return outside(address, size);
  return bytes;
}

base::Result<void> GuestMemory::copy_out(GuestAddress from, std::span<std::byte> to) const {
  const std::span<std::byte> bytes = find(from, to.size());
  if (bytes.data() == nullptr) return outside(from, to.size());
  if (!to.empty()) std::memcpy(to.data(), bytes.data(), to.size());
  return {};
}

base::Result<void> GuestMemory::copy_in(GuestAddress to, std::span<const std::byte> from) const {
  const std::span<std::byte> bytes = find(to, from.size());
  if (bytes.data() == nullptr) return outside(to, from.size());
  if (!from.empty()) std::memcpy(bytes.data(), from.data(), from.size());
  return {};
}

}  // namespace memory
