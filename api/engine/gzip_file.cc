#include "api/engine/gzip_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "vmm/base/unique_fd.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;

namespace {

constexpr std::size_t kPiece = 64u << 10;

Error gzip_error(std::string_view what) {
  return Error{Code::kInternal, std::string(what) + ": gzip error"};
}

Result<void> copy_compressed(int from, gzFile to) {
  std::vector<char> piece(kPiece);
  for (;;) {
    const ssize_t size = ::read(from, piece.data(), piece.size());
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return base::errno_error("read container log");
    if (size == 0) return {};
    if (::gzwrite(to, piece.data(), static_cast<unsigned>(size)) != size)
      return gzip_error("compress container log");
  }
}

}  // namespace

Result<void> compress_file(const std::filesystem::path& from, const std::filesystem::path& to) {
  const base::UniqueFd source(::open(from.c_str(), O_RDONLY | O_CLOEXEC));
  if (!source) return base::errno_error("open " + from.string());
  const std::string unfinished = to.string() + ".new";
  base::UniqueFd target(::open(unfinished.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640));
  if (!target) return base::errno_error("create " + unfinished);
  gzFile file = ::gzdopen(target.get(), "wb");
  if (file == nullptr) return gzip_error("create " + unfinished);
  target.release();  // gzclose() closes it
  Result<void> copied = copy_compressed(source.get(), file);
  if (::gzclose(file) != Z_OK && copied) copied = gzip_error("compress " + from.string());
  if (copied && ::rename(unfinished.c_str(), to.c_str()) != 0)
    copied = base::errno_error("rename " + unfinished);
  ::unlink(copied ? from.c_str() : unfinished.c_str());
  return copied;
}

Result<GzipReader> GzipReader::open(const std::filesystem::path& path) {
  base::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return base::errno_error("open " + path.string());
  File file(::gzdopen(fd.get(), "rb"));
  if (!file) return gzip_error("open " + path.string());
  fd.release();
  return GzipReader(std::move(file));
}

Result<std::size_t> GzipReader::read(std::span<char> out) {
  const int size = ::gzread(file_.get(), out.data(), static_cast<unsigned>(out.size()));
  if (size < 0) return gzip_error("read container log");
  return static_cast<std::size_t>(size);
}

}  // namespace engine
