// DiskStore: the bytes behind a virtio disk. LayersStore: read-only files at offsets, with zeros
// between them. DisksStore: read-write files at offsets, with nothing between them.
//
// Threading: any thread, concurrently.
// Trust: offsets and sizes are the guest's; what lies outside is kInvalidArgument. Data goes
// directly between guest memory and the files.
#pragma once

#include <sys/uio.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
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

/// A file's place on a disk.
struct FileExtent {
  static constexpr std::uint64_t kAlignment = 2u << 20;

  std::uint64_t end() const { return offset + length; }

  std::uint64_t offset = 0;  // multiple of kAlignment
  std::uint64_t length = 0;  // multiple of 512, not 0
  base::UniqueFd file;       // its first `length` bytes; what it lacks reads as zero
};

class LayersStore final : public DiskStore {
 public:
  /// Extents ascending and not overlapping (else kInvalidArgument). Bytes between them read as
  /// zero.
  static base::Result<LayersStore> create(std::vector<FileExtent> extents);

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
  explicit LayersStore(std::vector<FileExtent> extents) : extents_(std::move(extents)) {}

  std::vector<FileExtent> extents_;
};

class DisksStore final : public DiskStore {
 public:
  /// Extents as above, at least one, the first at 0. The files grow as they are written. A request
  /// must be inside of one extent (else kInvalidArgument): partitions, which they are, do not meet.
  static base::Result<std::unique_ptr<DisksStore>> create(std::vector<FileExtent> extents);

  bool read_only() const override { return false; }
  std::uint64_t size() const override { return extents_.back().end(); }
  base::Result<void> read(std::uint64_t offset, std::span<const iovec> parts,
                          Wait wait) const override;
  base::Result<void> write(std::uint64_t offset, std::span<const iovec> parts) const override;
  /// All files that were written since the last time, also if one of them fails.
  base::Result<void> flush() const override;
  base::Result<void> discard(std::uint64_t offset, std::uint64_t size) const override;
  base::Result<void> write_zeroes(std::uint64_t offset, std::uint64_t size,
                                  bool may_unmap) const override;

 private:
  /// Set after each change, taken back before the file is synced: what is false needs no sync.
  struct Unsynced {
    std::atomic<bool> flag{true};  // what the daemon wrote
    std::mutex syncing;            // a flush returns only after one that it relies on
  };
  /// Where a request is in its file.
  struct Place {
    int file = -1;
    std::uint64_t offset = 0;
    Unsynced* unsynced = nullptr;
  };

  explicit DisksStore(std::vector<FileExtent> extents)
      : extents_(std::move(extents)), unsynced_(std::make_unique<Unsynced[]>(extents_.size())) {}

  base::Result<Place> place(const char* what, std::uint64_t offset, std::uint64_t size) const;
  base::Result<void> sync_file(std::size_t extent) const;

  std::vector<FileExtent> extents_;
  std::unique_ptr<Unsynced[]> unsynced_;  // one each
};

}  // namespace devices
