#include "api/http/spool.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <system_error>
#include <thread>
#include <vector>

namespace http {

using base::Code;
using base::Error;
using base::Result;

namespace {

constexpr std::uint64_t kReserve = std::uint64_t{4} << 20;  // of space, at a time
constexpr std::size_t kReceiveBytes = 16u << 10;            // an upload that stalls holds as much
constexpr std::uint64_t kLargeFile = std::uint64_t{16} << 20;
constexpr std::size_t kSendBytes = 64u << 10;

Result<std::uint64_t> free_bytes(const std::string& directory) {
  struct statvfs disk {};
  if (::statvfs(directory.c_str(), &disk) != 0) return base::errno_error("statvfs " + directory);
  return static_cast<std::uint64_t>(disk.f_bavail) * disk.f_frsize;
}

/// To close the last descriptor of a large file takes as long as to remove it.
void close_elsewhere(base::UniqueFd file) {
  const auto shared = std::make_shared<base::UniqueFd>(std::move(file));
  try {
    std::thread([shared] { shared->reset(); }).detach();
  } catch (const std::system_error&) {
    // No more threads: it is closed here.
  }
}

Result<base::UniqueFd> unnamed_file(const std::string& directory) {
  base::UniqueFd fd(::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (fd) return fd;
  // Not every file system has them.
  std::string path = directory + "/spool-XXXXXX";
  base::UniqueFd named(::mkostemp(path.data(), O_CLOEXEC));
  if (!named) return base::errno_error("create a file in " + directory);
  ::unlink(path.c_str());
  return named;
}

}  // namespace

Result<void> SpoolSpace::take(ClientId client, std::uint64_t bytes) {
  const auto left = free_bytes(directory_);
  if (!left) return left.error();
  const std::lock_guard lock(mutex_);
  const std::uint64_t allowed = *left / 2 + total_ / 2;
  std::uint64_t& own = by_client_[client];
  const bool fits =
      total_ + bytes <= allowed / 2 || (total_ + bytes <= allowed && own + bytes <= allowed / 8);
  if (!fits) {
    if (own == 0) by_client_.erase(client);
    return Error{Code::kResourceExhausted, "not enough disk space for the request's data"};
  }
  own += bytes;
  total_ += bytes;
  return {};
}

void SpoolSpace::give_back(ClientId client, std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  total_ -= bytes;
  const auto found = by_client_.find(client);
  if (found != by_client_.end() && (found->second -= bytes) == 0) by_client_.erase(found);
}

SpoolFile::~SpoolFile() {
  space_->give_back(client_, reserved_);
  if (size_ > kLargeFile) close_elsewhere(std::move(file_));
}

Result<void> SpoolFile::write(std::span<const std::byte> bytes) {
  while (size_ + bytes.size() > reserved_) {
    RETURN_IF_ERROR(space_->take(client_, kReserve));
    reserved_ += kReserve;
  }
  while (!bytes.empty()) {
    const ssize_t written =
        ::pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(size_));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return base::errno_error("write the request's data");
    bytes = bytes.subspan(static_cast<std::size_t>(written));
    size_ += static_cast<std::uint64_t>(written);
  }
  return {};
}

Result<SpoolFilePtr> Spool::open(ClientId client) {
  auto file = unnamed_file(directory_);
  if (!file) return std::move(file).error();
  return std::make_shared<SpoolFile>(*std::move(file), space_, client);
}

net::awaitable<Result<void>> Spool::append(SpoolFilePtr file, std::span<const std::byte> bytes) {
  // The caller waits for the call's end even when it is cancelled: the bytes stay.
  const std::function<Result<void>()> call = [file, bytes] { return file->write(bytes); };
  co_return co_await pool_.run(call);
}

net::awaitable<Result<SpoolFilePtr>> Spool::receive(Exchange& exchange, std::uint64_t limit,
                                                    std::string first) {
  auto file = open(exchange.client());
  if (!file) co_return std::move(file).error();
  if (!first.empty()) {
    auto kept = co_await append(*file, std::as_bytes(std::span(first)));
    if (!kept) co_return std::move(kept).error();
  }
  std::vector<std::byte> piece(kReceiveBytes);
  for (;;) {
    const auto size = co_await exchange.read_some(piece);
    if (!size && size.error().code == Code::kUnavailable)
      co_return Error{Code::kUnavailable, "the request ended before its body was complete"};
    if (!size) co_return size.error();
    if (*size == 0) co_return *std::move(file);
    if ((*file)->size() + *size > limit)
      co_return Error{Code::kResourceExhausted, "http: request body too large"};
    auto kept = co_await append(*file, std::span(piece).first(*size));
    if (!kept) co_return std::move(kept).error();
  }
}

net::awaitable<Result<std::size_t>> Spool::read_at(SpoolFilePtr file, std::uint64_t offset,
                                                   std::span<std::byte> out) {
  const std::function<Result<std::size_t>()> call = [file, offset, out]() -> Result<std::size_t> {
    std::size_t filled = 0;
    while (filled < out.size()) {
      const ssize_t got = ::pread(file->fd(), out.data() + filled, out.size() - filled,
                                  static_cast<off_t>(offset + filled));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return base::errno_error("read the spooled data");
      if (got == 0) return Error{Code::kDataLoss, "the spooled data is shorter than it was"};
      filled += static_cast<std::size_t>(got);
    }
    return filled;
  };
  co_return co_await pool_.run(call);
}

net::awaitable<Result<void>> Spool::send(Exchange& exchange, SpoolFilePtr file) {
  std::vector<std::byte> piece(kSendBytes);
  for (std::uint64_t sent = 0; sent < file->size();) {
    const std::size_t size =
        static_cast<std::size_t>(std::min<std::uint64_t>(piece.size(), file->size() - sent));
    const std::span<std::byte> part = std::span(piece).first(size);
    const auto got = co_await read_at(file, sent, part);
    if (!got) co_return got.error();
    const auto written = co_await exchange.write(std::span<const std::byte>(part));
    if (!written) co_return written.error();
    sent += size;
  }
  co_return Result<void>();
}

net::awaitable<Result<std::string>> Spool::text_of(SpoolFilePtr file) {
  std::string text(static_cast<std::size_t>(file->size()), '\0');
  const auto got = co_await read_at(file, 0, std::as_writable_bytes(std::span(text)));
  if (!got) co_return got.error();
  co_return text;
}

}  // namespace http
