#include "vmm/memory/address_bus.h"

#include <algorithm>
#include <limits>

namespace memory {

base::Result<void> AddressBus::add(std::uint64_t start, std::uint64_t size, Responder& responder) {
  if (size == 0 || size > std::numeric_limits<std::uint64_t>::max() - start)
    return base::Error{base::Code::kInvalidArgument, "a range of a bus is empty or wraps"};
  for (const Range& range : ranges_) {
    if (start < range.start + range.size && range.start < start + size)
      return base::Error{base::Code::kAlreadyExists, "two ranges of a bus overlap"};
  }
  ranges_.push_back({start, size, &responder});
  return {};
}

std::optional<AddressBus::Hit> AddressBus::find(std::uint64_t address) const {
  for (const Range& range : ranges_) {
    if (address - range.start < range.size) return Hit{range.responder, address - range.start};
  }
  return std::nullopt;
}

void AddressBus::read(std::uint64_t address, std::span<std::byte> out) const {
  if (const auto hit = find(address)) return hit->responder->read(hit->offset, out);
  std::fill(out.begin(), out.end(), std::byte{0xff});
}

void AddressBus::write(std::uint64_t address, std::span<const std::byte> in) const {
  if (const auto hit = find(address)) hit->responder->write(hit->offset, in);
}

}  // namespace memory
