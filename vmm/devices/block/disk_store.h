// DiskStore: the bytes behind a virtio disk, in files at offsets. LayersStore is read-only, with
// zeros between the files; DisksStore is read-write, with nothing between them.
//
// A store's set of files never changes. Attaching and taking away make a new store, which shares
// the files that stay; the old one lives as long as a request that began with it.
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

/// A file's place on a disk.
struct FileExtent {
  static constexpr std::uint64_t kAlignment = 2u << 20;

  std::uint64_t end() const { return offset + length; }

  std::uint64_t offset = 0;  // multiple of kAlignment
  std::uint64_t length = 0;  // multiple of 512, not 0
  base::UniqueFd file;       // its first `length` bytes; where it is shorter, zeros are read
};

/// A file on a disk, shared by the stores that have it.
class DiskFile {
 public:
  explicit DiskFile(FileExtent extent) : extent_(std::move(extent)) {}

  std::uint64_t offset() const { return extent_.offset; }
  std::uint64_t end() const { return extent_.end(); }
  int fd() const { return extent_.file.get(); }

  void mark_changed() const { unsynced_ = true; }
  /// Brings to the host's disk what was written before the call (fdatasync); does nothing if that
  /// has been done. A call that comes while another one syncs waits for it, because it relies on
  /// that one's result.
  base::Result<void> sync() const;

 private:
  FileExtent extent_;
  /// Set after each change, taken back before the file is synced; while it is false nothing needs a
  /// sync. It is true at first because of what the daemon wrote.
  mutable std::atomic<bool> unsynced_{true};
  mutable std::mutex syncing_;
};

class DiskStore {
 public:
  enum class Wait { kAllowed, kNever };

  virtual ~DiskStore() = default;

  /// A store that has `extents` too. They ascend; none may overlap another or a file that is there
  /// (else kInvalidArgument).
  virtual base::Result<std::shared_ptr<const DiskStore>> with(
      std::vector<FileExtent> extents) const = 0;
  /// A store without the files that begin in [begin, end).
  virtual std::shared_ptr<const DiskStore> without(std::uint64_t begin,
                                                   std::uint64_t end) const = 0;

  /// Where the last file ends, in bytes; may be less than the capacity that the device reports.
  std::uint64_t size() const { return files_.empty() ? 0 : files_.back()->end(); }

  /// Fills (or stores) all parts. With Wait::kNever it may fail with kUnavailable where it would
  /// have to wait for a disk; the parts may then be partly filled.
  virtual base::Result<void> read(std::uint64_t offset, std::span<const iovec> parts,
                                  Wait wait) const = 0;
  virtual base::Result<void> write(std::uint64_t offset, std::span<const iovec> parts) const = 0;
  /// Brings to the host's disk what was written before the call.
  virtual base::Result<void> flush() const = 0;
  /// Says that the bytes are not needed any more; their space is given back where that is possible.
  virtual base::Result<void> discard(std::uint64_t offset, std::uint64_t size) const = 0;
  /// Makes the bytes read as zero. `may_unmap`: their space may be given back.
  virtual base::Result<void> write_zeroes(std::uint64_t offset, std::uint64_t size,
                                          bool may_unmap) const = 0;

 protected:
  using Files = std::vector<std::shared_ptr<const DiskFile>>;  // ascending, not overlapping

  explicit DiskStore(Files files) : files_(std::move(files)) {}

  base::Result<Files> files_with(std::vector<FileExtent> extents) const;
  Files files_without(std::uint64_t begin, std::uint64_t end) const;
  Files::const_iterator first_ending_after(std::uint64_t offset) const;
  const Files& files() const { return files_; }

 private:
  Files files_;
};

class LayersStore final : public DiskStore {
 public:
  /// Empty.
  LayersStore() : DiskStore(Files{}) {}

  base::Result<std::shared_ptr<const DiskStore>> with(
      std::vector<FileExtent> extents) const override;
  std::shared_ptr<const DiskStore> without(std::uint64_t begin, std::uint64_t end) const override;
  base::Result<void> read(std::uint64_t offset, std::span<const iovec> parts,
                          Wait wait) const override;
  base::Result<void> write(std::uint64_t offset, std::span<const iovec> parts) const override;
  base::Result<void> flush() const override { return {}; }
  base::Result<void> discard(std::uint64_t offset, std::uint64_t size) const override;
  base::Result<void> write_zeroes(std::uint64_t offset, std::uint64_t size,
                                  bool may_unmap) const override;

 private:
  explicit LayersStore(Files files) : DiskStore(std::move(files)) {}
};

/// The files grow as they are written. To the guest each is a partition, so a request must be
/// inside of one of them (else kInvalidArgument).
class DisksStore final : public DiskStore {
 public:
  /// Empty.
  DisksStore() : DiskStore(Files{}) {}

  base::Result<std::shared_ptr<const DiskStore>> with(
      std::vector<FileExtent> extents) const override;
  std::shared_ptr<const DiskStore> without(std::uint64_t begin, std::uint64_t end) const override;
  base::Result<void> read(std::uint64_t offset, std::span<const iovec> parts,
                          Wait wait) const override;
  base::Result<void> write(std::uint64_t offset, std::span<const iovec> parts) const override;
  /// Syncs all files that were written since the last time, also if one of them fails.
  base::Result<void> flush() const override;
  base::Result<void> discard(std::uint64_t offset, std::uint64_t size) const override;
  base::Result<void> write_zeroes(std::uint64_t offset, std::uint64_t size,
                                  bool may_unmap) const override;

 private:
  /// Where a request is in its file.
  struct Place {
    const DiskFile* file = nullptr;
    std::uint64_t offset = 0;
  };

  explicit DisksStore(Files files) : DiskStore(std::move(files)) {}
  base::Result<Place> place(const char* what, std::uint64_t offset, std::uint64_t size) const;
};

}  // namespace devices
