#include "vmm/devices/block/disk_store.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <limits>

namespace devices {

namespace {

constexpr std::uint64_t kMaxSize = std::numeric_limits<std::int64_t>::max();
constexpr std::uint64_t kSector = 512;

using Parts = std::vector<iovec>;

/// The bytes [from, from + size) of `parts`.
Parts cut(std::span<const iovec> parts, std::uint64_t from, std::uint64_t size) {
  Parts result;
  for (const iovec& part : parts) {
    if (size == 0) break;
    if (from >= part.iov_len) {
      from -= part.iov_len;
      continue;
    }
    const std::size_t piece = std::min<std::uint64_t>(part.iov_len - from, size);
    result.push_back({static_cast<std::byte*>(part.iov_base) + from, piece});
    size -= piece;
    from = 0;
  }
  return result;
}

std::uint64_t size_of(std::span<const iovec> parts) {
  std::uint64_t total = 0;
  for (const iovec& part : parts) total += part.iov_len;
  return total;
}

void fill_zero(std::span<const iovec> parts) {
  for (const iovec& part : parts) std::memset(part.iov_base, 0, part.iov_len);
}

struct Transferred {
  std::uint64_t bytes = 0;  // less than asked for if the file ended, or with `error_number`
  int error_number = 0;
};

/// Calls `transfer(parts, offset)` (preadv2 or pwritev) until all parts are done.
template <typename Transfer>
Transferred transfer_all(std::span<const iovec> parts, std::uint64_t offset, Transfer transfer) {
  const std::uint64_t size = size_of(parts);
  Transferred done;
  Parts rest;
  while (done.bytes < size) {
    if (done.bytes > 0) rest = cut(parts, done.bytes, size - done.bytes);
    std::span<const iovec> now = done.bytes > 0 ? std::span<const iovec>(rest) : parts;
    now = now.first(std::min<std::size_t>(now.size(), IOV_MAX));
    const ssize_t count = transfer(now, static_cast<off_t>(offset + done.bytes));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) done.error_number = errno;
    if (count <= 0) break;
    done.bytes += static_cast<std::uint64_t>(count);
  }
  return done;
}

/// Fills `parts`; bytes beyond the file's end are zero.
base::Result<void> read_file(int fd, std::uint64_t offset, std::span<const iovec> parts,
                             DiskStore::Wait wait) {
  const int flags = wait == DiskStore::Wait::kNever ? RWF_NOWAIT : 0;
  const auto done = transfer_all(parts, offset, [fd, flags](std::span<const iovec> now, off_t at) {
    return ::preadv2(fd, now.data(), static_cast<int>(now.size()), at, flags);
  });
  const std::uint64_t size = size_of(parts);
  if (done.bytes == size) return {};
  // Without waiting, a short count may mean that the rest is not cached. The worker's attempt
  // tells.
  if (flags != 0) return base::Error{base::Code::kUnavailable, "not in the page cache"};
  if (done.error_number != 0) return base::errno_error("preadv2", done.error_number);
  fill_zero(cut(parts, done.bytes, size - done.bytes));
  return {};
}

base::Error beyond(const char* what) {
  return {base::Code::kInvalidArgument, std::string(what) + " outside the disk"};
}

bool is_valid(const FileExtent& extent) {
  return extent.file && extent.offset % FileExtent::kAlignment == 0 && extent.length != 0 &&
         extent.length % kSector == 0 && extent.offset <= kMaxSize &&
         extent.length <= kMaxSize - extent.offset;
}

base::Error refused() { return {base::Code::kPermissionDenied, "the layers disk is read-only"}; }

}  // namespace

base::Result<void> DiskFile::sync() const {
  const std::lock_guard lock(syncing_);
  if (!unsynced_.exchange(false)) return {};
  if (::fdatasync(fd()) == 0) return {};
  unsynced_ = true;
  return base::errno_error("fdatasync");
}

base::Result<DiskStore::Files> DiskStore::files_with(std::vector<FileExtent> extents) const {
  Files files = files_;
  for (FileExtent& extent : extents) {
    if (!is_valid(extent))
      return base::Error{base::Code::kInvalidArgument,
                         "a disk's extents must be aligned, of whole sectors and not empty"};
    files.push_back(std::make_shared<const DiskFile>(std::move(extent)));
  }
  const auto older = files.begin() + static_cast<std::ptrdiff_t>(files_.size());
  std::inplace_merge(files.begin(), older, files.end(),
                     [](const auto& a, const auto& b) { return a->offset() < b->offset(); });
  for (std::size_t i = 1; i < files.size(); ++i)
    if (files[i]->offset() < files[i - 1]->end())
      return base::Error{base::Code::kInvalidArgument,
                         "a disk's extents must ascend and not overlap"};
  return files;
}

DiskStore::Files DiskStore::files_without(std::uint64_t begin, std::uint64_t end) const {
  Files files = files_;
  std::erase_if(files, [begin, end](const auto& file) {
    return file->offset() >= begin && file->offset() < end;
  });
  return files;
}

DiskStore::Files::const_iterator DiskStore::first_ending_after(std::uint64_t offset) const {
  return std::ranges::upper_bound(files_, offset, {}, [](const auto& file) { return file->end(); });
}

base::Result<std::shared_ptr<const DiskStore>> LayersStore::with(
    std::vector<FileExtent> extents) const {
  auto files = files_with(std::move(extents));
  if (!files) return std::move(files).error();
  return std::shared_ptr<const DiskStore>(new LayersStore(*std::move(files)));
}

std::shared_ptr<const DiskStore> LayersStore::without(std::uint64_t begin,
                                                      std::uint64_t end) const {
  return std::shared_ptr<const DiskStore>(new LayersStore(files_without(begin, end)));
}

base::Result<void> LayersStore::read(std::uint64_t offset, std::span<const iovec> parts,
                                     Wait wait) const {
  const std::uint64_t size = size_of(parts);
  const std::uint64_t disk = this->size();
  if (offset > disk || size > disk - offset) return beyond("read");
  if (size == 0) return {};
  auto next = first_ending_after(offset);
  // The usual case: all inside one layer.
  if ((*next)->offset() <= offset && size <= (*next)->end() - offset)
    return read_file((*next)->fd(), offset - (*next)->offset(), parts, wait);
  for (std::uint64_t at = offset, end = offset + size; at < end;) {
    const DiskFile& file = **next;
    if (at < file.offset()) {  // a gap
      const std::uint64_t piece = std::min(file.offset(), end) - at;
      fill_zero(cut(parts, at - offset, piece));
      at += piece;
      continue;
    }
    const std::uint64_t piece = std::min(file.end(), end) - at;
    RETURN_IF_ERROR(read_file(file.fd(), at - file.offset(), cut(parts, at - offset, piece), wait));
    at += piece;
    ++next;
  }
  return {};
}

base::Result<void> LayersStore::write(std::uint64_t, std::span<const iovec>) const {
  return refused();
}
base::Result<void> LayersStore::discard(std::uint64_t, std::uint64_t) const { return refused(); }
base::Result<void> LayersStore::write_zeroes(std::uint64_t, std::uint64_t, bool) const {
  return refused();
}

base::Result<std::shared_ptr<const DiskStore>> DisksStore::with(
    std::vector<FileExtent> extents) const {
  auto files = files_with(std::move(extents));
  if (!files) return std::move(files).error();
  return std::shared_ptr<const DiskStore>(new DisksStore(*std::move(files)));
}

std::shared_ptr<const DiskStore> DisksStore::without(std::uint64_t begin, std::uint64_t end) const {
  return std::shared_ptr<const DiskStore>(new DisksStore(files_without(begin, end)));
}

base::Result<DisksStore::Place> DisksStore::place(const char* what, std::uint64_t offset,
                                                  std::uint64_t size) const {
  const auto found = first_ending_after(offset);
  if (found == files().end() || offset < (*found)->offset() || size > (*found)->end() - offset)
    return beyond(what);
  return Place{.file = found->get(), .offset = offset - (*found)->offset()};
}

base::Result<void> DisksStore::read(std::uint64_t offset, std::span<const iovec> parts,
                                    Wait wait) const {
  const auto place = this->place("read", offset, size_of(parts));
  if (!place) return place.error();
  return read_file(place->file->fd(), place->offset, parts, wait);
}

base::Result<void> DisksStore::write(std::uint64_t offset, std::span<const iovec> parts) const {
  const std::uint64_t size = size_of(parts);
  const auto place = this->place("write", offset, size);
  if (!place) return place.error();
  const auto done = transfer_all(
      parts, place->offset, [file = place->file->fd()](std::span<const iovec> now, off_t at) {
        return ::pwritev(file, now.data(), static_cast<int>(now.size()), at);
      });
  place->file->mark_changed();
  if (done.error_number != 0) return base::errno_error("pwritev", done.error_number);
  if (done.bytes != size)
    return base::Error{base::Code::kResourceExhausted,
                       "the file of a disk took less than was written"};
  return {};
}

base::Result<void> DisksStore::flush() const {
  base::Result<void> result;
  for (const auto& file : files())
    if (auto synced = file->sync(); !synced) result = std::move(synced);
  return result;
}

base::Result<void> DisksStore::discard(std::uint64_t offset, std::uint64_t size) const {
  const auto place = this->place("discard", offset, size);
  if (!place) return place.error();
  // A hint: a filesystem that cannot punch holes keeps the bytes.
  if (size > 0 &&
      ::fallocate(place->file->fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  static_cast<off_t>(place->offset), static_cast<off_t>(size)) != 0 &&
      errno != EOPNOTSUPP)
    return base::errno_error("fallocate(PUNCH_HOLE)");
  place->file->mark_changed();
  return {};
}

base::Result<void> DisksStore::write_zeroes(std::uint64_t offset, std::uint64_t size,
                                            bool may_unmap) const {
  const auto place = this->place("write zeroes", offset, size);
  if (!place) return place.error();
  if (size == 0) return {};
  const int mode = may_unmap ? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE : FALLOC_FL_ZERO_RANGE;
  const int result = ::fallocate(place->file->fd(), mode, static_cast<off_t>(place->offset),
                                 static_cast<off_t>(size));
  place->file->mark_changed();
  if (result == 0) return {};
  if (errno != EOPNOTSUPP) return base::errno_error("fallocate of zeroes");
  static constexpr std::array<std::byte, 64 * 1024> kZeros{};
  while (size > 0) {
    const iovec part{const_cast<std::byte*>(kZeros.data()),
                     static_cast<std::size_t>(std::min<std::uint64_t>(size, kZeros.size()))};
    RETURN_IF_ERROR(write(offset, std::span(&part, 1)));
    offset += part.iov_len;
    size -= part.iov_len;
  }
  return {};
}

}  // namespace devices
