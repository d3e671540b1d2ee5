#include "api/engine/output/log_position.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>

#include "vmm/base/unique_fd.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;

namespace {

constexpr std::uint64_t kMagic = 0x31736f50676f4c43;  // "CLogPos1"

}  // namespace

/// Two slots; `state` says which one holds, and whether a write is under way.
struct LogPosition::Record {
  std::uint64_t magic;
  std::atomic<std::uint64_t> state;  // bit 0: the slot, bit 1: a write is under way
  Streams slots[2];
  Unfinished write;
};

namespace {

constexpr std::uint64_t kSlot = 1;
constexpr std::uint64_t kWriting = 2;

}  // namespace

LogPosition::~LogPosition() {
  if (record_ != nullptr) ::munmap(record_, sizeof(Record));
}

Result<void> LogPosition::map(const std::filesystem::path& path, int flags) {
  if (record_ != nullptr) ::munmap(std::exchange(record_, nullptr), sizeof(Record));
  const base::UniqueFd file(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags, 0600));
  if (!file) return base::errno_error("open " + path.string());
  // Allocated now: a store into a hole of a full file system would be a SIGBUS.
  if ((flags & O_CREAT) != 0)
    if (const int error = ::posix_fallocate(file.get(), 0, sizeof(Record)); error != 0)
      return base::errno_error("allocate " + path.string(), error);
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) return base::errno_error("stat " + path.string());
  if (status.st_size != sizeof(Record))
    return Error{Code::kDataLoss, path.string() + " has the wrong size"};
  void* memory = ::mmap(nullptr, sizeof(Record), PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  if (memory == MAP_FAILED) return base::errno_error("map " + path.string());
  record_ = static_cast<Record*>(memory);
  return {};
}

Result<void> LogPosition::create(const std::filesystem::path& path) {
  // A new file, not the old one cut: nobody may have the old one mapped then.
  if (::unlink(path.c_str()) != 0 && errno != ENOENT)
    return base::errno_error("remove " + path.string());
  RETURN_IF_ERROR(map(path, O_CREAT | O_EXCL));
  record_->magic = kMagic;
  return {};
}

Result<LogPosition::Found> LogPosition::open(const std::filesystem::path& path) {
  RETURN_IF_ERROR(map(path, 0));
  if (record_->magic != kMagic)
    return Error{Code::kDataLoss, path.string() + " is not a log's position"};
  const std::uint64_t state = record_->state.load(std::memory_order_acquire);
  Found found{.streams = record_->slots[state & kSlot], .unfinished = std::nullopt};
  if ((state & kWriting) != 0) found.unfinished = record_->write;
  return found;
}

// The release stores keep the order in which a process that is killed leaves what it has stored.
void LogPosition::begin_write(ino_t inode, std::int64_t size) {
  if (record_ == nullptr) return;
  record_->write = {inode, size};
  const std::uint64_t slot = record_->state.load(std::memory_order_relaxed) & kSlot;
  record_->state.store(slot | kWriting, std::memory_order_release);
}

void LogPosition::end_write(Streams streams) {
  if (record_ == nullptr) return;
  const std::uint64_t other = (record_->state.load(std::memory_order_relaxed) & kSlot) ^ kSlot;
  record_->slots[other] = streams;
  record_->state.store(other, std::memory_order_release);
}

}  // namespace engine
