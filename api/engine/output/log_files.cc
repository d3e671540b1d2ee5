#include "api/engine/output/log_files.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "api/engine/output/log_order.h"

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

}  // namespace

std::optional<LogFileName> parse_log_file_name(const std::filesystem::path& path,
                                               std::string_view name) {
  const std::string prefix = path.filename().string() + ".";
  if (!name.starts_with(prefix)) return std::nullopt;
  LogFileName found;
  const char* const end = name.data() + name.size();
  const auto parsed = std::from_chars(name.data() + prefix.size(), end, found.number);
  const std::string_view rest(parsed.ptr, static_cast<std::size_t>(end - parsed.ptr));
  if (parsed.ec != std::errc() || found.number < 1 || found.number == INT64_MAX)
    return std::nullopt;
  if (!rest.empty() && rest != ".gz") return std::nullopt;
  found.compressed = !rest.empty();
  return found;
}

LogFiles::LogFiles(std::filesystem::path path) : path_(std::move(path)) {}

std::filesystem::path LogFiles::numbered(std::int64_t number, std::string_view extension) const {
  return path_.string() + "." + std::to_string(number) + std::string(extension);
}

void LogFiles::set_up(int most) {
  settle_log_order(path_);
  most_ = most;
  oldest_ = INT64_MAX;
  newest_ = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(path_.parent_path(), error)) {
    const auto found = parse_log_file_name(path_, entry.path().filename().native());
    if (!found) continue;
    oldest_ = std::min(oldest_, found->number);
    newest_ = std::max(newest_, found->number);
  }
  if (newest_ == 0) oldest_ = 1;
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

Result<void> LogFiles::rotate(int& budget) {
  file_.reset();
  --budget;
  if (most_ == 1) {
    ::unlink(path_.c_str());
  } else if (::rename(path_.c_str(), numbered(newest_ + 1).c_str()) == 0) {
    ++newest_;
  } else {
    spdlog::error("{}", base::errno_error("rotate " + path_.string()).message);
  }
  remove_oldest(budget);
  const auto opened = open();
  if (!opened) return opened.error();
  return {};
}

/// A file that is missing is no error: max-file may have been smaller in an earlier run.
void LogFiles::remove_oldest(int& budget) {
  for (; newest_ - oldest_ + 1 > most_ - 1 && budget > 0; ++oldest_, --budget)
    if (::unlink(numbered(oldest_).c_str()) != 0) ::unlink(numbered(oldest_, ".gz").c_str());
}

}  // namespace engine
