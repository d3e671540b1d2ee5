#include "api/engine/json_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace engine {

using base::Result;
using protocol::Stream;

namespace {

constexpr std::size_t kReadSize = 64u << 10;
/// No line we wrote is longer: every byte may have become a \u00xx.
constexpr std::size_t kMaxJsonLine = JsonLogWriter::kMaxLine * 6 + 256;

/// The length of the valid UTF-8 sequence at the start of `text`; 0 if there is none.
std::size_t sequence_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto follows = [&](std::size_t i, unsigned low = 0x80, unsigned high = 0xbf) {
    return i < text.size() && byte(i) >= low && byte(i) <= high;
  };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf) return follows(1) ? 2 : 0;
  if (first >= 0xe0 && first <= 0xef) {
    const unsigned low = first == 0xe0 ? 0xa0 : 0x80;   // no overlong forms
    const unsigned high = first == 0xed ? 0x9f : 0xbf;  // no surrogates
    return follows(1, low, high) && follows(2) ? 3 : 0;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    const unsigned low = first == 0xf0 ? 0x90 : 0x80;
    const unsigned high = first == 0xf4 ? 0x8f : 0xbf;
    return follows(1, low, high) && follows(2) && follows(3) ? 4 : 0;
  }
  return 0;
}

void append_escaped(std::string& out, std::string_view text) {
  while (!text.empty()) {
    const char c = text.front();
    const std::size_t length = sequence_length(text);
    if (length == 0) {
      out += "\\ufffd";
      text.remove_prefix(1);
      continue;
    }
    if (length > 1) {
      out += text.substr(0, length);
    } else if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == '<' || c == '>' || c == '&') {
      out += "\\u00";
      out += "0123456789abcdef"[static_cast<unsigned char>(c) >> 4];
      out += "0123456789abcdef"[c & 15];
    } else {
      out += c;
    }
    text.remove_prefix(length);
  }
}

Result<void> write_all(int file, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(file, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return base::errno_error("write container log");
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

std::optional<LogEntry> parse_line(std::string_view line) {
  const auto value = nlohmann::json::parse(line, nullptr, false);
  if (!value.is_object()) return std::nullopt;
  const auto log = value.find("log");
  const auto stream = value.find("stream");
  const auto time = value.find("time");
  if (log == value.end() || stream == value.end() || time == value.end() || !log->is_string() ||
      !stream->is_string() || !time->is_string())
    return std::nullopt;
  const auto parsed = parse_time(time->get_ref<const std::string&>());
  if (!parsed) return std::nullopt;
  return LogEntry{.stream = *stream == "stderr" ? Stream::kStderr : Stream::kStdout,
                  .text = log->get<std::string>(),
                  .time = *parsed};
}

}  // namespace

void append_log_line(std::string& out, Stream stream, std::string_view text, TimeNs time) {
  out += "{\"log\":\"";
  append_escaped(out, text);
  out += stream == Stream::kStderr ? "\",\"stream\":\"stderr\",\"time\":\""
                                   : "\",\"stream\":\"stdout\",\"time\":\"";
  out += format_time(time);
  out += "\"}\n";
}

std::string& JsonLogWriter::unfinished(Stream stream) {
  return stream == Stream::kStderr ? stderr_rest_ : stdout_rest_;
}

Result<void> JsonLogWriter::append(Stream stream, std::span<const std::byte> bytes, TimeNs now) {
  std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  std::string& rest = unfinished(stream);
  std::string lines;
  while (!text.empty()) {
    const std::size_t room = kMaxLine - rest.size();
    const std::size_t newline = text.find('\n');
    const std::size_t take =
        std::min({room, text.size(), newline == text.npos ? newline : newline + 1});
    rest.append(text.substr(0, take));
    text.remove_prefix(take);
    if (rest.back() != '\n' && rest.size() < kMaxLine) break;
    append_log_line(lines, stream, rest, now);
    rest.clear();
  }
  return write_out(lines);
}

Result<void> JsonLogWriter::finish(TimeNs now) {
  std::string lines;
  for (const Stream stream : {Stream::kStdout, Stream::kStderr}) {
    std::string& rest = unfinished(stream);
    if (!rest.empty()) append_log_line(lines, stream, rest, now);
    rest.clear();
  }
  return write_out(lines);
}

Result<void> JsonLogWriter::write_out(const std::string& lines) {
  if (lines.empty()) return {};
  if (!file_) {
    file_.reset(::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640));
    if (!file_) return base::errno_error("open " + path_.string());
  }
  return write_all(file_.get(), lines);
}

Result<bool> JsonLogReader::open() {
  if (file_) return true;
  file_.reset(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file_ && errno == ENOENT) return false;
  if (!file_) return base::errno_error("open " + path_.string());
  return true;
}

Result<void> JsonLogReader::seek_to_tail(std::size_t lines) {
  const auto opened = open();
  if (!opened) return opened.error();
  if (!*opened) return {};
  struct stat status {};
  if (::fstat(file_.get(), &status) != 0) return base::errno_error("stat " + path_.string());
  if (lines == 0) {
    offset_ = status.st_size;
    return {};
  }

  std::string block(kReadSize, '\0');
  std::size_t newlines = 0;
  for (std::int64_t end = status.st_size; end > 0;) {
    const std::int64_t start =
        std::max<std::int64_t>(0, end - static_cast<std::int64_t>(kReadSize));
    const ssize_t got =
        ::pread(file_.get(), block.data(), static_cast<std::size_t>(end - start), start);
    if (got != end - start) return base::errno_error("read " + path_.string());
    for (std::int64_t at = end - 1; at >= start; --at) {
      // The newline that ends the last line begins no further one.
      if (block[static_cast<std::size_t>(at - start)] != '\n' || at == status.st_size - 1) continue;
      if (++newlines == lines) {
        offset_ = at + 1;
        return {};
      }
    }
    end = start;
  }
  return {};
}

Result<bool> JsonLogReader::fill() {
  const auto opened = open();
  if (!opened) return opened.error();
  if (!*opened) return false;
  buffer_.erase(0, std::exchange(consumed_, 0));
  const std::size_t old = buffer_.size();
  buffer_.resize(old + kReadSize);
  const ssize_t got = ::pread(file_.get(), buffer_.data() + old, kReadSize, offset_);
  buffer_.resize(old + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  if (got < 0) return base::errno_error("read " + path_.string());
  offset_ += got;
  return got > 0;
}

Result<std::optional<LogEntry>> JsonLogReader::next() {
  for (;;) {
    const std::size_t newline = buffer_.find('\n', consumed_);
    if (newline == std::string::npos) {
      if (buffer_.size() - consumed_ > kMaxJsonLine) consumed_ = buffer_.size();  // not ours: skip
      const auto more = fill();
      if (!more) return more.error();
      if (!*more) return std::optional<LogEntry>();
      continue;
    }
    const std::string_view line(buffer_.data() + consumed_, newline - consumed_);
    consumed_ = newline + 1;
    if (auto entry = parse_line(line)) return entry;
  }
}

}  // namespace engine
