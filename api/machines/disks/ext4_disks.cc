#include "api/machines/disks/ext4_disks.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <mutex>

#include "api/machines/disks/sparse_copy.h"
#include "vmm/base/spawn.h"
#include "vmm/base/units.h"

namespace engine {

namespace {

using base::Code;
using base::Error;
using base::Result;
using base::operator""_MiB;
using base::operator""_GiB;
namespace fs = std::filesystem;

/// Raised when the options below change: masters and ready disks of another format are not used.
constexpr int kFormat = 2;
constexpr std::uint64_t kSmallest = 64_MiB;
constexpr std::uint64_t kLargest = 4096_GiB;

fs::path master_name() {
  return "master-" + std::to_string(kDefaultDiskBytes) + "-v" + std::to_string(kFormat);
}

std::string ready_prefix() { return "ready-" + std::to_string(kFormat) + "-"; }

Result<void> check_size(std::uint64_t bytes) {
  if (bytes < kSmallest || bytes > kLargest || bytes % 1_MiB != 0)
    return Error{Code::kInvalidArgument,
                 "the size of a disk must be a multiple of 1 MiB, from 64 MiB to 4 TiB"};
  return {};
}

Result<void> run(const base::SpawnPlan& plan) {
  auto child = base::spawn(plan);
  if (!child) return std::move(child).error();
  siginfo_t info{};
  while (::waitid(P_PIDFD, static_cast<id_t>(child->pidfd.get()), &info, WEXITED) != 0)
    if (errno != EINTR) return base::errno_error("wait for " + plan.argv[0]);
  if (info.si_code == CLD_EXITED && info.si_status == 0) return {};
  return Error{Code::kInternal, plan.argv[0] + " failed with " + std::to_string(info.si_status)};
}

Result<std::string> find_mkfs() {
  for (const char* candidate : {"/usr/sbin/mkfs.ext4", "/sbin/mkfs.ext4", "/usr/bin/mkfs.ext4"})
    if (::access(candidate, X_OK) == 0) return std::string(candidate);
  return Error{Code::kNotSupported, "mkfs.ext4 is missing: install the package e2fsprogs"};
}

Result<void> format(const fs::path& path, std::uint64_t bytes) {
  const auto mkfs = find_mkfs();
  if (!mkfs) return mkfs.error();
  const base::UniqueFd file(::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!file || ::ftruncate(file.get(), static_cast<off_t>(bytes)) != 0)
    return base::errno_error("create " + path.string());
  // The file is all zeros: nothing of the inode tables and the journal need be written. Backups of
  // the group descriptors are kept once, not in every power of 3, 5 and 7.
  return run({.argv = {*mkfs, "-F", "-q", "-b", "4096", "-m", "0", "-J", "size=4", "-E",
                       "nodiscard,assume_storage_prezeroed=1,num_backup_sb=1,root_owner=0:0", "-O",
                       "^resize_inode,sparse_super2", path.string()},
              .descriptors = {-1, -1, -1},
              .group = -1,
              .oom_score_adj = 0});
}

Result<std::uint64_t> available_at(const fs::path& directory) {
  struct statvfs status {};
  if (::statvfs(directory.c_str(), &status) != 0)
    return base::errno_error("ask for the free space of " + directory.string());
  return std::uint64_t{status.f_bavail} * status.f_frsize;
}

/// Makes the master of the default size, unless it is there.
Result<void> make_master(const fs::path& path) {
  static std::mutex one_at_a_time;
  const std::lock_guard lock(one_at_a_time);
  if (fs::exists(path)) return {};
  const fs::path formatted = path.parent_path() / ("tmp-formatted-" + path.filename().string());
  std::error_code ignored;
  fs::remove(formatted, ignored);
  auto done = format_disk(formatted, kDefaultDiskBytes);
  if (!done) return base::annotate(std::move(done).error(), "format the master disk");
  if (::rename(formatted.c_str(), path.c_str()) != 0)
    return base::errno_error("keep the master disk");
  return {};
}

}  // namespace

Result<void> admit_disk(std::uint64_t bytes, std::uint64_t available) {
  // What a disk takes at first (measured: 3 bytes of a MiB), twice, and a reserve for the daemon.
  constexpr std::uint64_t kReserve = 64_MiB;
  const std::uint64_t first = 1_MiB + (bytes >> 18);
  if (available >= kReserve + 2 * first) return {};
  return Error{Code::kResourceExhausted,
               "a disk of " + std::to_string(bytes >> 20) +
                   " MiB: no space left on device: " + std::to_string(available >> 20) +
                   " MiB are free where disks are kept, of which " +
                   std::to_string(kReserve >> 20) + " MiB are a reserve"};
}

Result<void> format_disk(const fs::path& path, std::uint64_t bytes) {
  auto done = format(path, bytes);
  if (!done) ::unlink(path.c_str());
  return done;
}

Ext4Disks::Ext4Disks(net::any_io_executor executor, async::BlockingPool& pool, fs::path root,
                     std::size_t ready_disks)
    : executor_(executor),
      pool_(pool),
      root_(std::move(root)),
      wanted_(ready_disks),
      idle_(executor) {
  idle_.set();
}

Result<void> Ext4Disks::open() {
  std::error_code error;
  fs::create_directories(root_, error);
  if (error) return Error{Code::kInternal, "make " + root_.string() + ": " + error.message()};
  for (const fs::directory_entry& entry : fs::directory_iterator(root_, error)) {
    const std::string name = entry.path().filename();
    if (name.starts_with(ready_prefix())) {
      ready_.push_back(entry.path());
    } else if (name != master_name()) {
      fs::remove(entry.path(), error);
    }
  }
  refill();
  return {};
}

net::awaitable<Result<void>> Ext4Disks::create(fs::path path, std::uint64_t bytes) {
  if (bytes == 0) bytes = kDefaultDiskBytes;
  RETURN_IF_ERROR_ASYNC(check_size(bytes));
  if (::access(path.c_str(), F_OK) == 0)
    co_return Error{Code::kAlreadyExists, path.string() + " exists already"};
  if (bytes == kDefaultDiskBytes && !ready_.empty()) {
    const fs::path ready = std::move(ready_.back());
    ready_.pop_back();
    refill();
    if (::rename(ready.c_str(), path.c_str()) == 0) co_return Result<void>();
    ::unlink(ready.c_str());  // another filesystem, or it was removed behind our back: make one
  }
  co_return co_await make(bytes, std::move(path));
}

net::awaitable<Result<void>> Ext4Disks::make(std::uint64_t bytes, fs::path path) {
  std::function<Result<void>()> work = [root = root_, bytes, path]() -> Result<void> {
    const auto available = available_at(root);
    if (!available) return available.error();
    RETURN_IF_ERROR(admit_disk(bytes, *available));
    if (bytes != kDefaultDiskBytes) return format_disk(path, bytes);
    const fs::path master = root / master_name();
    RETURN_IF_ERROR(make_master(master));
    return sparse_copy(master, path);
  };
  co_return co_await pool_.run(std::move(work));
}

void Ext4Disks::refill() {
  if (closed_ || !idle_.is_set() || ready_.size() >= wanted_) return;
  idle_ = async::Latch(executor_);
  net::co_spawn(executor_, fill(this), net::detached);
}

net::awaitable<void> Ext4Disks::fill(Ext4Disks* self) {
  while (!self->closed_ && self->ready_.size() < self->wanted_) {
    const std::string number = std::to_string(::getpid()) + "-" + std::to_string(self->made_++);
    const fs::path draft = self->root_ / ("tmp-" + number);
    const fs::path ready = self->root_ / (ready_prefix() + number);
    auto made = co_await self->make(kDefaultDiskBytes, draft);
    if (made && ::rename(draft.c_str(), ready.c_str()) != 0) made = base::errno_error("rename");
    if (!made) {
      spdlog::warn("preparing a disk failed: {}", made.error().message);
      break;
    }
    self->ready_.push_back(ready);
  }
  self->idle_.set();
}

net::awaitable<void> Ext4Disks::close() {
  closed_ = true;
  co_await idle_.wait();
}

}  // namespace engine
