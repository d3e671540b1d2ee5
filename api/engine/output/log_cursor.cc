#include "api/engine/output/log_cursor.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "api/engine/output/log_order.h"
#include "api/engine/output/log_writer.h"
#include "api/engine/settings/log_settings.h"

namespace engine {

using base::Code;
using base::Result;

namespace {

/// What is kept for a cursor that follows, of files that were rotated meanwhile: files up to this
/// size in memory, so many bytes of them together, and so many larger files open.
constexpr std::size_t kSmallFile = 64u << 10;
constexpr std::size_t kMaxBehind = 256u << 10;
constexpr std::size_t kMaxOpen = 4;
/// How many names of the directory one turn looks at.
constexpr int kNamesAtOnce = 512;

/// Longer lines are not ours: every byte of the text may have become a \u00xx.
constexpr std::size_t kMaxJsonLine = LogWriter::kMaxLine * 6 + kMaxLogAttributes + 256;

std::int64_t size_of(int file) {
  struct stat status {};
  return ::fstat(file, &status) == 0 ? status.st_size : 0;
}

}  // namespace

// --- the files ------------------------------------------------------------------------------

Result<std::size_t> LogCursor::Source::read(std::span<char> out) {
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

/// A file with a number, so that it is opened again when its turn comes.
void LogCursor::Source::close() {
  file.reset();
  gzip.reset();
}

LogCursor::LogCursor(const LogFiles& files, bool follow) : files_(files), follow_(follow) {}

Result<bool> LogCursor::open_some() {
  if (!directory_) RETURN_IF_ERROR(begin_listing());
  for (int names = 0; names < kNamesAtOnce; ++names) {
    const dirent* const entry = ::readdir(directory_.get());
    if (entry == nullptr) {
      RETURN_IF_ERROR(end_listing());
      return true;
    }
    if (const auto found = parse_log_file_name(files_.path(), entry->d_name))
      numbers_.insert(found->number);
  }
  return false;
}

Result<void> LogCursor::begin_listing() {
  settle_log_order(files_.path());  // the container may not have run since an earlier version
  directory_.reset(::opendir(files_.path().parent_path().c_str()));
  if (!directory_) return base::errno_error("list " + files_.path().parent_path().string());
  return {};
}

Result<void> LogCursor::end_listing() {
  directory_.reset();
  for (const std::int64_t number : numbers_) {
    auto source = std::make_unique<Source>();
    source->number = number;
    source->sealed = source->begun = true;
    sources_.push_back(std::move(source));
  }
  numbers_.clear();
  auto live = std::make_unique<Source>();
  live->file.reset(::open(files_.path().c_str(), O_RDONLY | O_CLOEXEC));
  if (!live->file && errno == ENOENT) return {};
  if (!live->file) return base::errno_error("open " + files_.path().string());
  live->begun = true;
  live->sealed = !follow_;
  if (!follow_) live->limit = size_of(live->file.get());
  sources_.push_back(std::move(live));
  return {};
}

/// False: the file is no longer there.
Result<bool> LogCursor::open_source(Source& source) {
  if (source.number == 0 || source.file || source.gzip) return true;
  // A file that is there in both forms was just being compressed: the plain one is whole.
  const std::filesystem::path plain = files_.numbered(source.number);
  source.file.reset(::open(plain.c_str(), O_RDONLY | O_CLOEXEC));
  if (source.file) return true;
  if (errno != ENOENT) return base::errno_error("open " + plain.string());
  auto gzip = GzipReader::open(files_.numbered(source.number, ".gz"));
  if (!gzip && gzip.error().code == Code::kNotFound) return false;
  if (!gzip) return std::move(gzip).error();
  source.gzip = *std::move(gzip);
  source.skip_bytes = source.offset;  // it was plain when that was found
  return true;
}

// --- the last lines -------------------------------------------------------------------------

Result<bool> LogCursor::seek_some(std::size_t lines) {
  if (!seek_) seek_.emplace(Seek{.source = sources_.size(), .lines = lines});
  if (seek_->source == 0) return true;
  Source& source = *sources_[seek_->source - 1];
  if (seek_->lines == 0 && source.sealed) {
    sources_.erase(sources_.begin(), sources_.begin() + static_cast<std::ptrdiff_t>(seek_->source));
    return true;
  }
  const auto opened = open_source(source);
  if (!opened) return opened.error();
  if (!*opened) return seek_done(source);
  return source.gzip ? count_lines(source) : seek_back(source);
}

/// Moves a plain file towards its last lines, a block at a time.
Result<bool> LogCursor::seek_back(Source& source) {
  if (!seek_->end) {
    seek_->end = std::min(source.limit, size_of(source.file.get()));
    source.offset = *seek_->end;
  }
  const std::int64_t end = *seek_->end;
  if (end <= 0 || seek_->lines == 0) {
    if (seek_->lines > 0) source.offset = 0;
    return seek_done(source);
  }
  std::vector<char> block(kReadSize);
  const std::int64_t start =
      std::max<std::int64_t>(0, end - static_cast<std::int64_t>(block.size()));
  const ssize_t got =
      ::pread(source.file.get(), block.data(), static_cast<std::size_t>(end - start), start);
  if (got != end - start) return base::errno_error("read container log");
  for (std::int64_t at = end - 1; at >= start; --at) {
    if (block[static_cast<std::size_t>(at - start)] != '\n') continue;
    // A line begins behind the newline of the one before.
    if (seek_->found++ == seek_->lines) {
      source.offset = at + 1;
      seek_->found = seek_->lines;
      return seek_done(source);
    }
  }
  seek_->end = start;
  return false;
}

/// Counts the lines of a compressed file, a piece at a time.
Result<bool> LogCursor::count_lines(Source& source) {
  std::vector<char> piece(kReadSize);
  const auto size = source.read(piece);
  if (!size) return size.error();
  seek_->found += static_cast<std::size_t>(
      std::count(piece.begin(), piece.begin() + static_cast<std::ptrdiff_t>(*size), '\n'));
  if (*size > 0) return false;
  source.skip_lines = seek_->found > seek_->lines ? seek_->found - seek_->lines : 0;
  seek_->found -= source.skip_lines;
  return seek_done(source);
}

Result<bool> LogCursor::seek_done(Source& source) {
  if (source.number != 0) source.close();
  seek_->lines -= std::min(seek_->lines, seek_->found);
  seek_->found = 0;
  seek_->end.reset();
  --seek_->source;
  return false;
}

// --- reading --------------------------------------------------------------------------------

void LogCursor::take_lines(Source& source, LogBatch& batch) {
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

Result<LogBatch> LogCursor::next_batch() {
  drop_if_given_up();
  LogBatch batch;
  if (sources_.empty()) {
    batch.at_end = true;
    return batch;
  }
  Source& source = *sources_.front();
  source.begun = true;
  const auto opened = open_source(source);
  if (!opened) return opened.error();
  if (!*opened) {
    pop_source();
    return batch;
  }
  const std::size_t old = buffer_.size();
  buffer_.resize(old + kReadSize);
  const auto size = source.read(std::span(buffer_).subspan(old));
  buffer_.resize(old + (size ? *size : 0));
  if (size && *size > 0) {
    const std::int64_t skipped = std::min(static_cast<std::int64_t>(*size), source.skip_bytes);
    source.skip_bytes -= skipped;
    buffer_.erase(old, static_cast<std::size_t>(skipped));
    take_lines(source, batch);
  } else if (source.sealed) {
    pop_source();  // its end, or damage
  } else {
    given_up_ = false;
    batch.at_end = true;
  }
  return batch;
}

/// What remains of a line without a newline is of no use.
void LogCursor::pop_source() {
  buffer_.clear();
  sources_.pop_front();
  update_behind();
}

// --- following ------------------------------------------------------------------------------

bool LogCursor::has_live_file() const { return !sources_.empty() && !sources_.back()->sealed; }

void LogCursor::seal() {
  drop_if_given_up();
  if (!has_live_file()) return;
  Source& live = *sources_.back();
  live.sealed = true;
  const std::int64_t size = live.begun ? 0 : size_of(live.file.get());
  if (live.begun || size > static_cast<std::int64_t>(kSmallFile)) return update_behind();
  // The file's text is kept, joined to that of the file before if that is kept as text, too.
  std::string text(static_cast<std::size_t>(size), '\0');
  const auto got = live.read(text);
  text.resize(got ? *got : 0);
  if (sources_.size() >= 2) {
    Source& before = *sources_[sources_.size() - 2];
    if (!before.begun && !before.file && !before.gzip) {
      before.memory += text;
      sources_.pop_back();
      return update_behind();
    }
  }
  live.file.reset();
  live.memory = std::move(text);
  live.offset = 0;
  update_behind();
}

void LogCursor::add_live_file() {
  if (!follow_ || has_live_file()) return;
  auto live = std::make_unique<Source>();
  live->file.reset(::open(files_.path().c_str(), O_RDONLY | O_CLOEXEC));
  if (live->file) sources_.push_back(std::move(live));
}

void LogCursor::update_behind() {
  std::size_t bytes = 0;
  std::size_t files = 0;
  for (std::size_t i = 1; i < sources_.size(); ++i) {
    bytes += sources_[i]->memory.size();
    if (sources_[i]->file && !sources_[i]->begun) ++files;
  }
  behind_ = bytes > kMaxBehind || files > kMaxOpen;
}

void LogCursor::drop_if_given_up() {
  if (!given_up_ || !behind_) return;
  std::erase_if(sources_, [](const SourcePtr& source) { return source->sealed && !source->begun; });
  update_behind();
}

}  // namespace engine
