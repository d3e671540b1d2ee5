#include "images/store/streams/byte_source.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace images {

namespace {
constexpr std::size_t kSkipChunk = 16u << 10;
constexpr std::size_t kSparseBlock = 4096;

std::span<const std::byte> first_block(std::span<const std::byte> bytes) {
  return bytes.first(std::min(bytes.size(), kSparseBlock));
}

/// `bytes` is not empty.
bool is_zero(std::span<const std::byte> bytes) {
  return bytes[0] == std::byte{0} &&
         std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}
}  // namespace

base::Result<std::uint64_t> ByteSource::skip(std::uint64_t count) {
  std::array<std::byte, kSkipChunk> scratch;
  std::uint64_t done = 0;
  while (done < count) {
    const std::size_t want =
        static_cast<std::size_t>(std::min<std::uint64_t>(count - done, scratch.size()));
    auto got = read(std::span(scratch).first(want));
    if (!got) return std::move(got).error();
    if (*got == 0) break;
    done += *got;
  }
  return done;
}

base::Result<std::size_t> FdSource::read(std::span<std::byte> out) {
  while (true) {
    const ssize_t got = ::read(fd_, out.data(), out.size());
    if (got >= 0) return static_cast<std::size_t>(got);
    if (errno != EINTR) return base::errno_error("read");
  }
}

base::Result<std::size_t> RangeSource::read(std::span<std::byte> out) {
  const std::size_t want = static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), left_));
  if (want == 0) return std::size_t{0};
  while (true) {
    const ssize_t got = ::pread(fd_, out.data(), want, static_cast<off_t>(offset_));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return base::errno_error("read");
    offset_ += static_cast<std::uint64_t>(got);
    left_ -= static_cast<std::uint64_t>(got);
    return static_cast<std::size_t>(got);
  }
}

base::Result<std::uint64_t> RangeSource::skip(std::uint64_t count) {
  const std::uint64_t step = std::min(count, left_);
  offset_ += step;
  left_ -= step;
  return step;
}

base::Result<void> FdSink::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(fd_, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return base::errno_error("write");
    bytes = bytes.subspan(static_cast<std::size_t>(put));
  }
  return {};
}

base::Result<void> SparseFileSink::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    // As many blocks as are alike: all zeros, or none of them.
    const bool zeros = is_zero(first_block(bytes));
    std::size_t run = 0;
    while (run < bytes.size() && is_zero(first_block(bytes.subspan(run))) == zeros)
      run += first_block(bytes.subspan(run)).size();
    if (!zeros) RETURN_IF_ERROR(write_at(bytes.first(run)));
    offset_ += run;
    bytes = bytes.subspan(run);
  }
  return {};
}

base::Result<void> SparseFileSink::write_at(std::span<const std::byte> bytes) const {
  std::uint64_t at = offset_;
  while (!bytes.empty()) {
    const ssize_t put = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(at));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return base::errno_error("write");
    at += static_cast<std::uint64_t>(put);
    bytes = bytes.subspan(static_cast<std::size_t>(put));
  }
  return {};
}

base::Result<void> SparseFileSink::finish() {
  if (::ftruncate(fd_, static_cast<off_t>(offset_)) != 0) return base::errno_error("ftruncate");
  return {};
}

base::Result<std::size_t> SpanSource::read(std::span<std::byte> out) {
  const std::size_t step = std::min(out.size(), bytes_.size());
  std::copy_n(bytes_.begin(), step, out.begin());
  bytes_ = bytes_.subspan(step);
  return step;
}

base::Result<void> StringSink::write(std::span<const std::byte> bytes) {
  if (bytes.size() > limit_ - text_.size())
    return base::Error{base::Code::kResourceExhausted, "stream is larger than the limit"};
  text_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return {};
}

base::Result<std::size_t> read_fully(ByteSource& source, std::span<std::byte> out) {
  std::size_t done = 0;
  while (done < out.size()) {
    auto got = source.read(out.subspan(done));
    if (!got) return std::move(got).error();
    if (*got == 0) break;
    done += *got;
  }
  return done;
}

}  // namespace images
