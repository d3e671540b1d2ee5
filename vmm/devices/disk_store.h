// DiskStore: the bytes behind a virtio disk. LayersStore: many read-only files at offsets.
// FileStore: one raw read-write file.
//
// Threading: const and without state; any thread, concurrently.
// Trust: offsets and sizes are the guest's; what lies outside is kInvalidArgument. Data goes
// directly between guest memory and the files.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <span>
#include <vector>

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace devices {

class DiskStore {
 public:
  enum class Wait { kAllowed, kNever };

  virtual ~DiskStore() = default;

  virtual bool read_only() const = 0;
  /// Bytes that can be accessed; may be less than the capacity the device reports.
  virtual std::uint64_t size() const = 0;

  /// Fills (or stores) all parts. With Wait::kNever it may fail with kUnavailable where it would
  /// have to wait for a disk; the parts may then be partly filled.
  virtual base::Result<void> read(std::uint64_t offset, std::span<const iovec> parts,
                                  Wait wait) const = 0;
  virtual base::Result<void> write(std::uint64_t offset, std::span<const iovec> parts) const = 0;
  /// What was written is on the disk.
  virtual base::Result<void> flush() const = 0;
  /// The bytes are not needed any more: gives the space back where that is possible.
  virtual base::Result<void> discard(std::uint64_t offset, std::uint64_t size) const = 0;
  /// The bytes read as zero. `may_unmap`: their space may be given back.
  virtual base::Result<void> write_zeroes(std::uint64_t offset, std::uint64_t size,
                                          bool may_unmap) const = 0;
};

class LayersStore final : public DiskStore {
 public:
  static constexpr std::uint64_t kAlignment = 2u << 20;

  struct Extent {
    std::uint64_t offset = 0;  // multiple of kAlignment
    std::uint64_t length = 0;  // multiple of 512, not 0
    base::UniqueFd file;       // its first `length` bytes; what it lacks reads as zero
  };

  /// Extents ascending and not overlapping (else kInvalidArgument). Bytes between them read as
  /// zero.
  static base::Result<LayersStore> create(std::vector<Extent> extents);

  bool read_only() const override { return true; }
  std::uint64_t size() const override;
  base::Result<void> read(std::uint64_t offset, std::span<const iovec> parts,
                          Wait wait) const override;
  base::Result<void> write(std::uint64_t offset, std::span<const iovec> parts) const override;
  base::Result<void> flush() const override { return {}; }
  base::Result<void> discard(std::uint64_t offset, std::uint64_t size) const override;
  base::Result<void> write_zeroes(std::uint64_t offset, std::uint64_t size,
                                  bool may_unmap) const override;

 private:
  explicit LayersStore(std::vector<Extent> extents) : extents_(std::move(extents)) {}

  std::vector<Extent> extents_;
};

class FileStore final : public DiskStore {
 public:
  /// `size`: multiple of 512. The file may be shorter: what it lacks reads as zero.
  static base::Result<FileStore> create(base::UniqueFd file, std::uint64_t size);

  bool read_only() const override { return false; }
  std::uint64_t size() const override { return size_; }
  base::Result<void> read(std::uint64_t offset, std::span<const iovec> parts,
                          Wait wait) const override;
  base::Result<void> write(std::uint64_t offset, std::span<const iovec> parts) const override;
  base::Result<void> flush() const override;
  base::Result<void> discard(std::uint64_t offset, std::uint64_t size) const override;
  base::Result<void> write_zeroes(std::uint64_t offset, std::uint64_t size,
                                  bool may_unmap) const override;

 private:
  FileStore(base::UniqueFd file, std::uint64_t size) : file_(std::move(file)), size_(size) {}

  bool contains(std::uint64_t offset, std::uint64_t size) const;

  base::UniqueFd file_;
  std::uint64_t size_;
};

}  // namespace devices
