// A container's log in Docker's json-file format: one JSON object per line of output,
// {"log":"text\n","stream":"stdout","time":"2026-01-02T03:04:05.5Z"}.
//
// JsonLogWriter turns a process's output into lines; JsonLogReader reads them back.
// Threads: the io_context thread; writes go to the page cache.
// Trust: the text is the guest's, any bytes. Bytes that are not UTF-8 become U+FFFD, as with
// Docker. A line longer than kMaxLine is split. Memory: one unfinished line per stream.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "api/engine/timestamp.h"
#include "guest-init/protocol/messages.h"
#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace engine {

class JsonLogWriter {
 public:
  static constexpr std::size_t kMaxLine = 16u << 10;

  /// Appends to `path`, which is created when the first line is written.
  explicit JsonLogWriter(std::filesystem::path path) : path_(std::move(path)) {}

  /// Takes output; complete lines are written.
  base::Result<void> append(protocol::Stream stream, std::span<const std::byte> bytes, TimeNs now);
  /// Writes unfinished lines (the process has ended).
  base::Result<void> finish(TimeNs now);

 private:
  std::string& unfinished(protocol::Stream stream);
  base::Result<void> write_out(const std::string& lines);

  std::filesystem::path path_;
  base::UniqueFd file_;
  std::string stdout_rest_;
  std::string stderr_rest_;
};

/// Appends one log line, as JSON, to `out`.
void append_log_line(std::string& out, protocol::Stream stream, std::string_view text, TimeNs time);

struct LogEntry {
  protocol::Stream stream = protocol::Stream::kStdout;
  std::string text;  // with its newline, if it had one
  TimeNs time = 0;
};

class JsonLogReader {
 public:
  /// A missing file reads as an empty one.
  explicit JsonLogReader(std::filesystem::path path) : path_(std::move(path)) {}

  /// Moves to the last `lines` entries (before the first next()).
  base::Result<void> seek_to_tail(std::size_t lines);

  /// The next entry; nullopt at the present end (more may come). Damaged lines are skipped.
  base::Result<std::optional<LogEntry>> next();

 private:
  base::Result<bool> open();
  base::Result<bool> fill();

  std::filesystem::path path_;
  base::UniqueFd file_;
  std::string buffer_;
  std::size_t consumed_ = 0;
  std::int64_t offset_ = 0;  // of the file, behind buffer_
};

}  // namespace engine
