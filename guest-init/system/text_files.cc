#include "guest-init/system/text_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>

#include "vmm/base/unique_fd.h"

namespace guest_init {

base::Result<void> write_file_at(int directory, const std::string& path, std::string_view text) {
  const base::UniqueFd fd(openat(directory, path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) return base::errno_error("open " + path);
  if (write(fd.get(), text.data(), text.size()) < 0) return base::errno_error("write " + path);
  return {};
}

base::Result<void> create_file(const std::string& path, std::string_view text) {
  const base::UniqueFd file(open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644));
  if (!file) return base::errno_error("create " + path);
  return write_all(file.get(), text);
}

base::Result<void> write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return base::errno_error("write");
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

base::Result<std::string> read_regular_file(const std::string& path, std::size_t limit) {
  const base::UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd) return base::errno_error("open " + path);
  struct stat status {};
  if (fstat(fd.get(), &status) != 0) return base::errno_error("stat " + path);
  if (!S_ISREG(status.st_mode))
    return base::Error{base::Code::kInvalidArgument, path + " is not a regular file"};
  std::string text;
  while (text.size() < limit) {
    const std::size_t old_size = text.size();
    text.resize(std::min<std::size_t>(limit, old_size + 4096));
    const ssize_t size = read(fd.get(), text.data() + old_size, text.size() - old_size);
    if (size < 0) return base::errno_error("read " + path);
    text.resize(old_size + static_cast<std::size_t>(size));
    if (size == 0) break;
  }
  return text;
}

std::optional<std::uint64_t> parse_decimal(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

}  // namespace guest_init
