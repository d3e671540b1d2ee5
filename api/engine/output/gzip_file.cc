#include "api/engine/output/gzip_file.h"

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

Error gzip_error(std::string_view what) {
  return Error{Code::kInternal, std::string(what) + ": gzip error"};
}

}  // namespace

GzipReplacement::GzipReplacement(std::filesystem::path from, std::filesystem::path to)
    : from_(std::move(from)), to_(std::move(to)), unfinished_(to_.string() + ".new") {}

GzipReplacement::~GzipReplacement() {
  if (target_ == nullptr) return;
  ::gzclose(target_);
  ::unlink(unfinished_.c_str());
}

Result<void> GzipReplacement::open() {
  source_.reset(::open(from_.c_str(), O_RDONLY | O_CLOEXEC));
  if (!source_) return base::errno_error("open " + from_.string());
  base::UniqueFd target(
      ::open(unfinished_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640));
  if (!target) return base::errno_error("create " + unfinished_);
  target_ = ::gzdopen(target.get(), "wb");
  if (target_ == nullptr) return gzip_error("create " + unfinished_);
  target.release();  // gzclose() closes it
  return {};
}

/// True at the end of the file.
Result<bool> GzipReplacement::copy_some() {
  std::vector<char> piece(kStep);
  ssize_t size = 0;
  do size = ::read(source_.get(), piece.data(), piece.size());
  while (size < 0 && errno == EINTR);
  if (size < 0) return base::errno_error("read container log");
  if (size > 0 && ::gzwrite(target_, piece.data(), static_cast<unsigned>(size)) != size)
    return gzip_error("compress container log");
  return size == 0;
}

Result<void> GzipReplacement::replace() {
  if (::gzclose(std::exchange(target_, nullptr)) != Z_OK) {
    ::unlink(unfinished_.c_str());
    return gzip_error("compress " + from_.string());
  }
  if (::rename(unfinished_.c_str(), to_.c_str()) != 0) {
    auto error = base::errno_error("rename " + unfinished_);
    ::unlink(unfinished_.c_str());
    return error;
  }
  ::unlink(from_.c_str());
  return {};
}

Result<bool> GzipReplacement::step() {
  if (!source_) RETURN_IF_ERROR(open());
  auto at_end = copy_some();
  if (!at_end || !*at_end) return at_end;
  RETURN_IF_ERROR(replace());
  return true;
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
