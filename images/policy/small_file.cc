#include "images/policy/small_file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "images/store/streams/byte_source.h"
#include "vmm/base/unique_fd.h"

namespace images {

base::Result<std::string> read_small_file(const std::string& path, std::size_t max_bytes) {
  // Not blocking: a pipe in a file's place must not hold anybody up.
  const base::UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file) return base::errno_error("open " + path);
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) return base::errno_error("stat " + path);
  if (!S_ISREG(status.st_mode))
    return base::Error{base::Code::kInvalidArgument, path + " is not a regular file"};
  FdSource source(file.get());
  std::string text(max_bytes + 1, '\0');
  const auto got = read_fully(source, std::as_writable_bytes(std::span(text)));
  if (!got) return base::annotate(got.error(), "read " + path);
  if (*got > max_bytes)
    return base::Error{base::Code::kResourceExhausted,
                       path + " is larger than " + std::to_string(max_bytes) + " bytes"};
  text.resize(*got);
  return text;
}

}  // namespace images
