#include "vmm/emulated/host/console_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>

namespace emulated {
namespace {

constexpr std::size_t kTailSize = 2048;

base::Result<base::UniqueFd> open_log(const std::filesystem::path& path) {
  base::UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!file) return base::errno_error(path.string());
  return file;
}

}  // namespace

base::Result<ConsoleLog> ConsoleLog::create(std::filesystem::path path) {
  auto file = open_log(path);
  if (!file) return std::move(file).error();
  return ConsoleLog(std::move(path), std::move(*file));
}

void ConsoleLog::read_from(int fd) {
  std::array<char, 16u << 10> buffer;
  ssize_t n;
  while ((n = ::read(fd, buffer.data(), buffer.size())) > 0) {
    const auto size = static_cast<std::size_t>(n);
    // A full disk costs the log, not the machine.
    [[maybe_unused]] const auto written = ::write(file_.get(), buffer.data(), size);
    size_ += size;
    last_.append(buffer.data(), size);
    if (last_.size() > kTailSize) last_.erase(0, last_.size() - kTailSize);
    if (size_ >= kMaxSize) rotate();
  }
}

void ConsoleLog::rotate() {
  std::error_code error;
  std::filesystem::rename(path_, path_.string() + ".old", error);
  size_ = 0;
  if (auto file = open_log(path_)) file_ = std::move(*file);
}

std::string ConsoleLog::tail() const {
  std::string text;
  for (const char c : last_)
    if (c == '\n' || (c >= ' ' && c <= '~')) text += c;
  if (last_.size() == kTailSize) text.erase(0, std::min(text.size(), text.find('\n') + 1));
  return text;
}

}  // namespace emulated
