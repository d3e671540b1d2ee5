// MappedRegion: owns one mmap()ed range of this process and unmaps it.
#pragma once

#include <sys/mman.h>
#include <sys/types.h>

#include <cstddef>
#include <span>
#include <utility>

#include "vmm/base/result.h"

namespace base {

class MappedRegion {
 public:
  MappedRegion() = default;

  /// mmap() with the given protection and flags; `fd` may be -1 with MAP_ANONYMOUS.
  static Result<MappedRegion> map(std::size_t size, int protection, int flags, int fd = -1,
                                  off_t offset = 0) {
    void* at = ::mmap(nullptr, size, protection, flags, fd, offset);
    if (at == MAP_FAILED) return errno_error("mmap");
    return MappedRegion(static_cast<std::byte*>(at), size);
  }

  MappedRegion(MappedRegion&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  MappedRegion& operator=(MappedRegion&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  MappedRegion(const MappedRegion&) = delete;
  MappedRegion& operator=(const MappedRegion&) = delete;
  ~MappedRegion() {
    if (data_ != nullptr) ::munmap(data_, size_);
  }

  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }
  std::span<std::byte> bytes() const { return {data_, size_}; }

 private:
  MappedRegion(std::byte* data, std::size_t size) : data_(data), size_(size) {}

  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace base
