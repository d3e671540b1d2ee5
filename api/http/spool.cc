#include "api/http/spool.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstring>
#include <functional>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "api/async/notifier.h"
#include "vmm/base/scope_exit.h"

namespace http {

using base::Code;
using base::Error;
using base::Result;
using namespace net::experimental::awaitable_operators;  // NOLINT: operator&& and operator|| only

namespace {

constexpr std::uint64_t kReserve = 256u << 10;    // room on the disk is taken in such steps
constexpr std::size_t kReceiveBytes = 16u << 10;  // what a stalled upload holds in memory
constexpr std::size_t kLargePiece = 512u << 10;
constexpr std::size_t kSmallPiece = 16u << 10;
constexpr std::size_t kMostInMemory = 32u << 20;
constexpr std::chrono::minutes kRest{10};  // how long a client may take nothing
constexpr std::uint64_t kLargeFile = std::uint64_t{16} << 20;

Result<std::uint64_t> free_bytes(const std::string& directory) {
  struct statvfs disk {};
  if (::statvfs(directory.c_str(), &disk) != 0) return base::errno_error("statvfs " + directory);
  return static_cast<std::uint64_t>(disk.f_bavail) * disk.f_frsize;
}

std::span<const std::byte> first_block(std::span<const std::byte> bytes) {
  constexpr std::size_t kBlock = 4096;
  return bytes.first(std::min(bytes.size(), kBlock));
}

/// `bytes` is not empty.
bool is_zero(std::span<const std::byte> bytes) {
  return bytes[0] == std::byte{0} &&
         std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

/// Closes the file on another thread: closing the last descriptor of a large file takes as long as
/// removing it.
void close_elsewhere(base::UniqueFd file) {
  const auto shared = std::make_shared<base::UniqueFd>(std::move(file));
  try {
    std::thread([shared] { shared->reset(); }).detach();
  } catch (const std::system_error&) {
    // There is no further thread: the file is closed on this one.
  }
}

Result<base::UniqueFd> unnamed_file(const std::string& directory) {
  base::UniqueFd fd(::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (fd) return fd;
  // Not every file system has files without names.
  std::string path = directory + "/spool-XXXXXX";
  base::UniqueFd named(::mkostemp(path.data(), O_CLOEXEC));
  if (!named) return base::errno_error("create a file in " + directory);
  ::unlink(path.c_str());
  return named;
}

/// What has come from the client and is not yet in the file. The next piece is read while one is
/// being written.
struct Inflow {
  Inflow(const net::any_io_executor& executor, std::uint64_t most,
         std::shared_ptr<SpoolMemory> spools)
      : limit(most), memory(std::move(spools)), changed(executor) {}
  ~Inflow() { memory->give_back(pending.size()); }
  Inflow(const Inflow&) = delete;
  Inflow& operator=(const Inflow&) = delete;

  void put(std::span<const std::byte> bytes) {
    pending.insert(pending.end(), bytes.begin(), bytes.end());
    total += bytes.size();
    memory->take(bytes.size());
    changed.notify_all();
  }
  /// What is taken still counts as being in memory, until written() is called for it.
  std::vector<std::byte> take() {
    changed.notify_all();
    return std::exchange(pending, {});
  }
  void written(std::size_t bytes) { memory->give_back(bytes); }
  void end(Result<void> how) {
    if (!ended) result = std::move(how);
    ended = true;
    changed.notify_all();
  }

  const std::uint64_t limit;
  const std::shared_ptr<SpoolMemory> memory;
  async::Notifier changed;
  std::vector<std::byte> pending;
  std::uint64_t total = 0;
  bool ended = false;  // nothing more comes, or nothing more is wanted
  Result<void> result;
};

net::awaitable<Result<void>> append(async::BlockingPool& pool, SpoolFilePtr file,
                                    std::span<const std::byte> bytes) {
  // The caller waits for the call's end even when it is cancelled: the bytes stay.
  const std::function<Result<void>()> call = [file, bytes] { return file->write(bytes); };
  co_return co_await pool.run(call);
}

net::awaitable<void> read_body(Exchange& exchange, std::shared_ptr<Inflow> flow) {
  std::vector<std::byte> piece(kReceiveBytes);
  while (!flow->ended) {
    const auto size = co_await exchange.read_some(piece);
    Result<void> end;
    if (!size) end = size.error();
    if (!size && size.error().code == Code::kUnavailable)
      end = Error{Code::kUnavailable, "the request ended before its body was complete"};
    if (size && flow->total + *size > flow->limit)
      end = Error{Code::kResourceExhausted, "http: request body too large"};
    if (!end || *size == 0) {
      flow->end(std::move(end));
      co_return;
    }
    flow->put(std::span(piece).first(*size));
    while (!flow->ended && flow->pending.size() >= flow->memory->piece_limit())
      co_await flow->changed.wait();
  }
}

net::awaitable<void> write_file(async::BlockingPool& pool, SpoolFilePtr file,
                                std::shared_ptr<Inflow> flow) {
  for (;;) {
    while (flow->pending.empty() && !flow->ended) co_await flow->changed.wait();
    if (flow->pending.empty() || !flow->result) co_return;
    const std::vector<std::byte> piece = flow->take();
    const base::ScopeExit no_more([&] { flow->written(piece.size()); });
    auto kept = co_await append(pool, file, piece);
    if (kept) continue;
    flow->ended = false;  // so that end() keeps this Error, even if all has come
    flow->end(std::move(kept));
    co_return;
  }
}

}  // namespace

std::size_t SpoolMemory::piece_limit() const {
  return bytes_ < kMostInMemory ? kLargePiece : kSmallPiece;
}

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
    return Error{Code::kResourceExhausted, "write the request's data: No space left on device"};
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
  if (stored_ > kLargeFile) close_elsewhere(std::move(file_));
}

Result<void> SpoolFile::store(std::span<const std::byte> bytes) {
  while (stored_ + bytes.size() > reserved_) {
    RETURN_IF_ERROR(space_->take(client_, kReserve));
    reserved_ += kReserve;
  }
  stored_ += bytes.size();
  std::uint64_t at = size_;
  while (!bytes.empty()) {
    const ssize_t written =
        ::pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(at));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return base::errno_error("write the request's data");
    bytes = bytes.subspan(static_cast<std::size_t>(written));
    at += static_cast<std::uint64_t>(written);
  }
  return {};
}

Result<void> SpoolFile::write(std::span<const std::byte> bytes) {
  bool hole = false;
  while (!bytes.empty()) {
    // As many blocks as are alike: all zeros, or none of them.
    hole = is_zero(first_block(bytes));
    std::size_t run = 0;
    while (run < bytes.size() && is_zero(first_block(bytes.subspan(run))) == hole)
      run += first_block(bytes.subspan(run)).size();
    if (!hole) RETURN_IF_ERROR(store(bytes.first(run)));
    size_ += run;
    bytes = bytes.subspan(run);
  }
  if (hole && ::ftruncate(file_.get(), static_cast<off_t>(size_)) != 0)
    return base::errno_error("write the request's data");
  return {};
}

Result<SpoolFilePtr> Spool::open(ClientId client) {
  auto file = unnamed_file(directory_);
  if (!file) return std::move(file).error();
  return std::make_shared<SpoolFile>(*std::move(file), space_, client);
}

net::awaitable<Result<SpoolFilePtr>> Spool::receive(Exchange& exchange, std::uint64_t limit,
                                                    std::string first) {
  auto file = open(exchange.client());
  if (!file) co_return std::move(file).error();
  const auto flow = std::make_shared<Inflow>(co_await net::this_coro::executor, limit, memory_);
  flow->put(std::as_bytes(std::span(first)));
  first = {};
  co_await (read_body(exchange, flow) && write_file(pool_, *file, flow));
  if (!flow->result) co_return flow->result.error();
  co_return *std::move(file);
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
  const std::shared_ptr<SpoolMemory> memory = memory_;
  std::vector<std::byte> piece(std::min<std::uint64_t>(memory->piece_limit(), file->size()));
  memory->take(piece.size());
  const base::ScopeExit counted([&] { memory->give_back(piece.size()); });
  for (std::uint64_t sent = 0; sent < file->size();) {
    const std::size_t size =
        static_cast<std::size_t>(std::min<std::uint64_t>(piece.size(), file->size() - sent));
    const std::span<std::byte> part = std::span(piece).first(size);
    const auto got = co_await read_at(file, sent, part);
    if (!got) co_return got.error();
    net::steady_timer rest(co_await net::this_coro::executor, kRest);
    auto writing = exchange.write(std::span<const std::byte>(part));
    const auto written = co_await (std::move(writing) || rest.async_wait(async::kTuple));
    if (written.index() == 1)
      co_return Error{Code::kDeadlineExceeded, "the client did not read its answer in time"};
    if (!std::get<0>(written)) co_return std::get<0>(written).error();
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
