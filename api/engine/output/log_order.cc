#include "api/engine/output/log_order.h"

#include <spdlog/spdlog.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <optional>
#include <set>
#include <string>

#include "api/engine/output/gzip_file.h"
#include "api/engine/output/json_log.h"
#include "api/engine/output/log_files.h"
#include "vmm/base/result.h"

namespace engine {

namespace fs = std::filesystem;

namespace {

/// The first line of a log is no longer than this.
constexpr std::size_t kMostRead = 256u << 10;

fs::path name_of(const fs::path& log, std::int64_t number, const char* extension) {
  return log.string() + "." + std::to_string(number) + extension;
}

/// When the first line of a rotated file was written.
std::optional<TimeNs> first_time(const fs::path& log, std::int64_t number) {
  auto file = GzipReader::open(name_of(log, number, ""));  // zlib reads plain files, too
  if (!file) file = GzipReader::open(name_of(log, number, ".gz"));
  if (!file) return std::nullopt;
  std::string text;
  std::array<char, 4096> piece{};
  while (text.size() < kMostRead) {
    const auto size = file->read(piece);
    if (!size || *size == 0) break;
    text.append(piece.data(), *size);
    if (const auto end = text.find('\n'); end != text.npos) {
      const auto line = parse_log_line(std::string_view(text).substr(0, end));
      return line ? std::optional(line->time) : std::nullopt;
    }
  }
  return std::nullopt;
}

std::set<std::int64_t> rotated_files(const fs::path& log) {
  std::set<std::int64_t> numbers;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(log.parent_path(), error))
    if (const auto found = parse_log_file_name(log, entry.path().filename().native()))
      numbers.insert(found->number);
  return numbers;
}

/// How many files, from .1 on, are numbered as an earlier version did. A call that was interrupted
/// has given the oldest of them numbers behind a gap: those files are older than .1.
std::int64_t numbered_backwards(const fs::path& log, const std::set<std::int64_t>& numbers) {
  const auto newest = first_time(log, 1);
  if (!newest) return 0;
  std::int64_t count = 1;
  TimeNs last = *newest;
  for (auto at = numbers.upper_bound(1); at != numbers.end(); ++at) {
    const auto time = first_time(log, *at);
    const bool follows = *at == count + 1;
    if (!time || (follows ? *time > last : *time > last || *time >= *newest)) return 0;
    if (!follows) return count;
    ++count;
    last = *time;
  }
  return last < *newest ? count : 0;
}

/// Renames both forms of a file, since it may have been in the middle of its compression.
bool rename_file(const fs::path& log, std::int64_t from, std::int64_t to) {
  for (const char* extension : {"", ".gz"})
    if (::rename(name_of(log, from, extension).c_str(), name_of(log, to, extension).c_str()) != 0 &&
        errno != ENOENT) {
      spdlog::error("{}", base::errno_error("renumber " + log.string()).message);
      return false;
    }
  return true;
}

}  // namespace

void settle_log_order(const fs::path& log) {
  const std::set<std::int64_t> numbers = rotated_files(log);
  if (!numbers.contains(1)) return;
  const std::int64_t backwards = numbered_backwards(log, numbers);
  if (backwards == 0) return;
  spdlog::info("{}: renumbering {} files of an earlier version", log.string(), backwards);
  std::int64_t last = *numbers.rbegin();
  for (std::int64_t number = backwards; number > 0; --number)
    if (!rename_file(log, number, ++last)) return;
}

}  // namespace engine
