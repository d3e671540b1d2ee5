#include "api/engine/log_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <charconv>
#include <map>
#include <optional>

#include "api/engine/container_log.h"
#include "api/engine/gzip_file.h"
#include "vmm/base/unique_fd.h"

namespace engine {

using base::Code;
using base::Result;

namespace {

/// Longer lines are not ours: every byte of the text may have become a \u00xx.
constexpr std::size_t kMaxJsonLine = ContainerLog::kMaxLine * 6 + kMaxLogAttributes + 256;

std::int64_t size_of(int file) {
  struct stat status {};
  return ::fstat(file, &status) == 0 ? status.st_size : 0;
}

/// The numbers of the rotated files beside `path`, and whether they are compressed. A file that is
/// there in both forms was just being compressed: the plain one is whole.
std::map<int, bool, std::greater<>> rotated_files(const std::filesystem::path& path) {
  std::map<int, bool, std::greater<>> found;
  const std::string prefix = path.filename().string() + ".";
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(path.parent_path(), error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(prefix)) continue;
    int number = 0;
    const char* const end = name.data() + name.size();
    const auto parsed = std::from_chars(name.data() + prefix.size(), end, number);
    const std::string_view rest(parsed.ptr, static_cast<std::size_t>(end - parsed.ptr));
    if (parsed.ec != std::errc() || (!rest.empty() && rest != ".gz")) continue;
    const auto [at, inserted] = found.emplace(number, rest == ".gz");
    if (rest.empty()) at->second = false;
  }
  return found;
}

}  // namespace

/// One file, or what was in it.
struct LogReader::Source {
  base::UniqueFd file;
  std::optional<GzipReader> gzip;
  std::string memory;
  std::int64_t offset = 0;
  std::int64_t limit = INT64_MAX;  // what was written later is not read
  std::size_t skip_lines = 0;
  bool sealed = false;  // nothing is added any more
  bool begun = false;   // it stays what it is

  Result<std::size_t> read(std::span<char> out) {
    if (gzip) return gzip->read(out);
    const auto most = static_cast<std::size_t>(
        std::min<std::int64_t>(static_cast<std::int64_t>(out.size()), limit - offset));
    if (!file) {
      const std::size_t size = memory.copy(out.data(), most, static_cast<std::size_t>(offset));
      offset += static_cast<std::int64_t>(size);
      return size;
    }
    const ssize_t size = ::pread(file.get(), out.data(), most, offset);
    if (size < 0) return base::errno_error("read container log");
    offset += size;
    return static_cast<std::size_t>(size);
  }
};

LogReader::LogReader(std::shared_ptr<ContainerLog> log, bool follow)
    : log_(std::move(log)), follow_(follow) {
  if (follow_) log_->followers_.insert(this);
}

LogReader::~LogReader() {
  log_->followers_.erase(this);
  log_->progress_.notify_all();
}

Result<void> LogReader::open_files() {
  for (const auto& [number, compressed] : rotated_files(log_->path_)) {
    auto source = std::make_unique<Source>();
    source->sealed = source->begun = true;
    if (compressed) {
      auto gzip = GzipReader::open(log_->numbered(number, ".gz"));
      if (!gzip) return std::move(gzip).error();
      source->gzip = *std::move(gzip);
    } else {
      source->file.reset(::open(log_->numbered(number).c_str(), O_RDONLY | O_CLOEXEC));
      // Compressed in this moment.
      if (!source->file && errno == ENOENT) {
        auto gzip = GzipReader::open(log_->numbered(number, ".gz"));
        if (!gzip) return std::move(gzip).error();
        source->gzip = *std::move(gzip);
      } else if (!source->file) {
        return base::errno_error("open " + log_->numbered(number).string());
      }
    }
    sources_.push_back(std::move(source));
  }
  auto live = std::make_unique<Source>();
  live->file.reset(::open(log_->path_.c_str(), O_RDONLY | O_CLOEXEC));
  if (!live->file && errno == ENOENT) return {};
  if (!live->file) return base::errno_error("open " + log_->path_.string());
  live->begun = true;
  live->sealed = !follow_;
  if (!follow_) live->limit = size_of(live->file.get());
  sources_.push_back(std::move(live));
  return {};
}

net::awaitable<Result<std::size_t>> LogReader::count_lines(Source& source) {
  const net::any_io_executor executor = co_await net::this_coro::executor;
  std::vector<char> piece(kReadSize);
  std::size_t lines = 0;
  for (;;) {
    const auto size = source.read(piece);
    if (!size) co_return size.error();
    if (*size == 0) co_return lines;
    lines += static_cast<std::size_t>(
        std::count(piece.begin(), piece.begin() + static_cast<std::ptrdiff_t>(*size), '\n'));
    co_await net::post(executor, net::use_awaitable);
  }
}

/// Moves a plain file to its last `lines` lines; returns how many it has of them.
net::awaitable<Result<std::size_t>> LogReader::seek_back(Source& source, std::size_t lines) {
  const net::any_io_executor executor = co_await net::this_coro::executor;
  const std::int64_t total = std::min(source.limit, size_of(source.file.get()));
  source.offset = total;
  std::vector<char> block(kReadSize);
  std::size_t found = 0;
  for (std::int64_t end = total; end > 0 && lines > 0;) {
    const std::int64_t start =
        std::max<std::int64_t>(0, end - static_cast<std::int64_t>(kReadSize));
    const ssize_t got =
        ::pread(source.file.get(), block.data(), static_cast<std::size_t>(end - start), start);
    if (got != end - start) co_return base::errno_error("read container log");
    for (std::int64_t at = end - 1; at >= start; --at) {
      if (block[static_cast<std::size_t>(at - start)] != '\n') continue;
      // A line begins behind the newline of the one before.
      if (found++ == lines) {
        source.offset = at + 1;
        co_return lines;
      }
    }
    end = start;
    co_await net::post(executor, net::use_awaitable);
  }
  if (lines > 0) source.offset = 0;
  co_return found;
}

net::awaitable<Result<void>> LogReader::seek_to_tail(std::size_t lines) {
  // Files that are rotated meanwhile come behind these.
  for (std::size_t at = sources_.size(); at-- > 0;) {
    Source& source = *sources_[at];
    if (lines == 0 && source.sealed) {
      sources_.erase(sources_.begin(), sources_.begin() + static_cast<std::ptrdiff_t>(at) + 1);
      break;
    }
    if (!source.gzip) {
      const auto found = co_await seek_back(source, lines);
      if (!found) co_return found.error();
      lines -= *found;
      continue;
    }
    const auto total = co_await count_lines(source);
    if (!total) co_return total.error();
    source.gzip->rewind();
    source.skip_lines = *total > lines ? *total - lines : 0;
    lines -= *total - source.skip_lines;
  }
  co_return Result<void>();
}

void LogReader::take_lines(Source& source, LogBatch& batch) {
  std::size_t consumed = 0;
  for (;;) {
    const std::size_t newline = buffer_.find('\n', consumed);
    if (newline == std::string::npos) break;
    const std::string_view line(buffer_.data() + consumed, newline - consumed);
    consumed = newline + 1;
    if (source.skip_lines > 0) {
      --source.skip_lines;
      continue;
    }
    if (auto entry = parse_log_line(line)) batch.entries.push_back(*std::move(entry));
  }
  buffer_.erase(0, consumed);
  if (buffer_.size() > kMaxJsonLine) buffer_.clear();
}

Result<LogBatch> LogReader::next_batch() {
  LogBatch batch;
  while (!sources_.empty()) {
    Source& source = *sources_.front();
    source.begun = true;
    const std::size_t old = buffer_.size();
    buffer_.resize(old + kReadSize);
    const auto size = source.read(std::span(buffer_).subspan(old));
    buffer_.resize(old + (size ? *size : 0));
    if (size && *size > 0) {
      take_lines(source, batch);
      return batch;
    }
    if (!source.sealed) {
      given_up_ = false;
      batch.at_end = true;
      return batch;
    }
    // Its end, or damage: what remains of a line without a newline is of no use.
    buffer_.clear();
    sources_.pop_front();
    log_->progress_.notify_all();
  }
  batch.at_end = true;
  return batch;
}

bool LogReader::has_live_file() const { return !sources_.empty() && !sources_.back()->sealed; }

void LogReader::seal() {
  if (!has_live_file()) return;
  Source& live = *sources_.back();
  live.sealed = true;
  const std::int64_t size = live.begun ? 0 : size_of(live.file.get());
  if (live.begun || size > static_cast<std::int64_t>(kSmallFile)) return;
  // Its text is kept, with that of the file before if that is text too.
  std::string text(static_cast<std::size_t>(size), '\0');
  const auto got = live.read(text);
  text.resize(got ? *got : 0);
  if (sources_.size() >= 2) {
    Source& before = *sources_[sources_.size() - 2];
    if (!before.begun && !before.file && !before.gzip) {
      before.memory += text;
      sources_.pop_back();
      return;
    }
  }
  live.file.reset();
  live.memory = std::move(text);
  live.offset = 0;
}

void LogReader::add_live_file(const std::filesystem::path& path) {
  auto live = std::make_unique<Source>();
  live->file.reset(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (live->file) sources_.push_back(std::move(live));
}

bool LogReader::is_behind() const {
  std::size_t bytes = 0;
  std::size_t files = 0;
  for (std::size_t i = 1; i < sources_.size(); ++i) {
    bytes += sources_[i]->memory.size();
    if (sources_[i]->file && !sources_[i]->begun) ++files;
  }
  return bytes > kMaxBehind || files > kMaxOpen;
}

void LogReader::skip_what_is_behind() {
  std::erase_if(sources_, [](const SourcePtr& source) { return source->sealed && !source->begun; });
}

}  // namespace engine
