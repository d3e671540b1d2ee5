// GuestMemory: the guest's physical memory as this process sees it, with checked bounds: its RAM,
// and the ranges that it may only read.
//
// It maps guest-physical addresses to host bytes; it does not own the mappings (the machine does,
// and keeps them until the last user is gone) and knows nothing of how they are backed.
// Threading: immutable after create(); any thread may use it. The bytes themselves are shared with
// running vCPUs, which may change them at any moment: copy a value out once, then check the copy.
// Trust: every address and size given to find(), slice(), copy_in() and copy_out() may be
// guest-chosen.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>
#include <vector>

#include "vmm/base/result.h"

namespace memory {

/// A guest-physical address.
struct GuestAddress {
  std::uint64_t value = 0;

  friend auto operator<=>(GuestAddress, GuestAddress) = default;
};

class GuestMemory {
 public:
  /// Memory from `start` on; `host` are the same bytes in this process. Only find_readable()
  /// answers for a read-only region: a write through a pointer into one would be a fault.
  struct Region {
    GuestAddress start;
    std::span<std::byte> host;
    bool read_only = false;
  };

  /// Takes regions in ascending order, not empty, not overlapping, not wrapping (else
  /// kInvalidArgument).
  static base::Result<GuestMemory> create(std::vector<Region> regions);

  std::span<const Region> regions() const { return regions_; }
  std::uint64_t size() const;

  /// The `size` bytes of RAM at `address`; nullptr data if they are not all inside one region. A
  /// size of 0 inside (or at the end of) a region gives an empty span with data.
  std::span<std::byte> find(GuestAddress address, std::uint64_t size) const {
    const Region* const region = region_of(address, size);
    if (region == nullptr || region->read_only) return {};
    return part(*region, address, size);
  }

  /// As find(), in read-only regions too. The bytes must never be written.
  std::span<const std::byte> find_readable(GuestAddress address, std::uint64_t size) const {
    const Region* const region = region_of(address, size);
    if (region == nullptr) return {};
    return part(*region, address, size);
  }

  /// As find(), but kInvalidArgument where that gives nullptr data.
  base::Result<std::span<std::byte>> slice(GuestAddress address, std::uint64_t size) const;

  /// Copies guest bytes out of, or host bytes into, guest memory. kInvalidArgument if outside.
  base::Result<void> copy_out(GuestAddress from, std::span<std::byte> to) const;
  base::Result<void> copy_in(GuestAddress to, std::span<const std::byte> from) const;

  template <typename T>
  base::Result<T> read(GuestAddress from) const {
    static_assert(std::is_trivially_copyable_v<T>);
    T value{};
    RETURN_IF_ERROR(copy_out(from, std::as_writable_bytes(std::span(&value, 1))));
    return value;
  }

  template <typename T>
  base::Result<void> write(GuestAddress to, const T& value) const {
    static_assert(std::is_trivially_copyable_v<T>);
    return copy_in(to, std::as_bytes(std::span(&value, 1)));
  }

 private:
  explicit GuestMemory(std::vector<Region> regions) : regions_(std::move(regions)) {}

  const Region* region_of(GuestAddress address, std::uint64_t size) const {
    for (const Region& region : regions_) {
      const std::uint64_t offset = address.value - region.start.value;  // huge if it lies before
      if (offset <= region.host.size() && size <= region.host.size() - offset) return &region;
    }
    return nullptr;
  }
  static std::span<std::byte> part(const Region& region, GuestAddress address, std::uint64_t size) {
    return region.host.subspan(static_cast<std::size_t>(address.value - region.start.value),
                               static_cast<std::size_t>(size));
  }

  std::vector<Region> regions_;
};

}  // namespace memory
