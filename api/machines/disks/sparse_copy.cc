#include "api/machines/disks/sparse_copy.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "vmm/base/unique_fd.h"

namespace engine {

namespace {

using base::Code;
using base::Error;
using base::Result;

Result<void> copy_extent(int from, int to, off_t begin, off_t end) {
  while (begin < end) {
    off_t in = begin;
    off_t out = begin;
    const ssize_t copied =
        ::copy_file_range(from, &in, to, &out, static_cast<std::size_t>(end - begin), 0);
    if (copied < 0 && errno == EINTR) continue;
    if (copied < 0) return base::errno_error("copy");
    if (copied == 0) return Error{Code::kDataLoss, "the file became shorter while it was copied"};
    begin += copied;
  }
  return {};
}

Result<void> copy_data(int from, int to) {
  struct stat status {};
  if (::fstat(from, &status) != 0) return base::errno_error("stat");
  if (::ftruncate(to, status.st_size) != 0) return base::errno_error("set the size");
  off_t at = 0;
  while (at < status.st_size) {
    const off_t begin = ::lseek(from, at, SEEK_DATA);
    if (begin < 0 && errno == ENXIO) break;  // only a hole is left
    if (begin < 0) return base::errno_error("find data");
    const off_t end = ::lseek(from, begin, SEEK_HOLE);
    if (end < 0) return base::errno_error("find a hole");
    RETURN_IF_ERROR(copy_extent(from, to, begin, end));
    at = end;
  }
  if (::fdatasync(to) != 0) return base::errno_error("sync");
  return {};
}

}  // namespace

Result<void> sparse_copy(const std::filesystem::path& from, const std::filesystem::path& to) {
  const base::UniqueFd source(::open(from.c_str(), O_RDONLY | O_CLOEXEC));
  if (!source) return base::errno_error("open " + from.string());
  const base::UniqueFd target(::open(to.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!target) return base::errno_error("create " + to.string());
  if (::ioctl(target.get(), FICLONE, source.get()) == 0) return {};
  auto copied = copy_data(source.get(), target.get());
  if (copied) return {};
  ::unlink(to.c_str());
  return base::annotate(std::move(copied).error(), "copy to " + to.string());
}

}  // namespace engine
