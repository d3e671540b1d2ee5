#include "api/engine/log_files.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

namespace engine {

using base::Result;

namespace {

Result<void> write_all(int file, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(file, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return base::errno_error("write container log");
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

/// A missing file is fine: a crash may have come between two renames.
void rename_log(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0 && errno != ENOENT)
    spdlog::error("{}", base::errno_error("rotate " + from.string()).message);
}

}  // namespace

LogFiles::LogFiles(std::filesystem::path path) : path_(std::move(path)) {}

std::filesystem::path LogFiles::numbered(int number, std::string_view extension) const {
  return path_.string() + "." + std::to_string(number) + std::string(extension);
}

void LogFiles::set_up(int most, bool compress) {
  most_ = most;
  extension_ = compress ? ".gz" : "";
  known_ = false;
  struct stat status {};
  if (!file_) size_ = ::stat(path_.c_str(), &status) == 0 ? status.st_size : 0;
}

Result<bool> LogFiles::open() {
  if (file_) return false;
  file_.reset(::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640));
  if (!file_) return base::errno_error("open " + path_.string());
  struct stat status {};
  if (::fstat(file_.get(), &status) != 0) return base::errno_error("stat " + path_.string());
  inode_ = status.st_ino;
  size_ = status.st_size;
  return true;
}

Result<void> LogFiles::write(std::string_view text) {
  auto written = write_all(file_.get(), text);
  if (written) {
    size_ += static_cast<std::int64_t>(text.size());
  } else {
    [[maybe_unused]] const int cut = ::ftruncate(file_.get(), size_);
  }
  return written;
}

void LogFiles::cut(ino_t inode, std::int64_t size) {
  struct stat status {};
  if (::stat(path_.c_str(), &status) == 0 && status.st_ino == inode && status.st_size > size &&
      ::truncate(path_.c_str(), size) == 0)
    size_ = size;
}

void LogFiles::begin_rotation() {
  file_.reset();
  last_ = known_ ? std::min(last_ + 1, most_ - 1) : 0;
  step_ = Step::kCounting;
}

Result<bool> LogFiles::rotate_some(int& budget) {
  if (step_ == Step::kCounting) count_some(budget);
  if (step_ == Step::kShifting) shift_some(budget);
  if (rotating()) return false;
  auto opened = open();
  if (!opened) return opened;
  return true;
}

/// How many there are; of as many as there may be the last one goes. Where there was a gap, more
/// may follow than the last rotation left.
void LogFiles::count_some(int& budget) {
  std::error_code error;
  while (last_ < most_ - 1 && std::filesystem::exists(numbered(last_ + 1, extension_), error)) {
    if (budget-- <= 0) return;
    ++last_;
  }
  known_ = true;
  shift_from_ = last_;
  if (last_ > 0 && last_ >= most_ - 1) {
    ::unlink(numbered(last_, extension_).c_str());
    --shift_from_;
  }
  step_ = Step::kShifting;
}

void LogFiles::shift_some(int& budget) {
  for (; shift_from_ > 0; --shift_from_) {
    if (budget-- <= 0) return;
    rename_log(numbered(shift_from_, extension_), numbered(shift_from_ + 1, extension_));
  }
  --budget;
  if (most_ == 1) {
    ::unlink(path_.c_str());
  } else {
    rename_log(path_, numbered(1));
  }
  step_ = Step::kNone;
}

int LogFiles::number_now(int number) const {
  const bool moved = step_ == Step::kShifting && number > shift_from_ && number <= last_;
  return moved ? number + 1 : number;
}

int LogFiles::number_before(int number) const {
  const bool moved = step_ == Step::kShifting && number > shift_from_ + 1 && number <= last_ + 1;
  return moved ? number - 1 : number;
}

}  // namespace engine
