#include "vmm/base/read_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <limits>

namespace base {

Result<std::uint64_t> file_size(int file) {
  struct stat status {};
  if (::fstat(file, &status) != 0) return errno_error("fstat");
  if (!S_ISREG(status.st_mode)) return Error{Code::kInvalidArgument, "not a regular file"};
  return static_cast<std::uint64_t>(status.st_size);
}

Result<void> read_fully(int file, std::uint64_t offset, std::span<std::byte> destination) {
  if (offset > static_cast<std::uint64_t>(std::numeric_limits<off_t>::max()) - destination.size())
    return Error{Code::kDataLoss, "the offset is larger than any file can be"};
  while (!destination.empty()) {
    const ssize_t got =
        ::pread(file, destination.data(), destination.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno_error("pread");
    if (got == 0) return Error{Code::kDataLoss, "the file ends too early"};
    destination = destination.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
  return {};
}

}  // namespace base
