#include "api/engine/output/log_writer.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "api/engine/output/log_cursor.h"

namespace engine {

using base::Result;
using protocol::Stream;

namespace {

/// What a change to the directory counts as beside bytes that are written.
constexpr std::size_t kChangeBytes = LogWriter::kTurnBytes / LogWriter::kTurnChanges;

}  // namespace

LogWriter::LogWriter(std::filesystem::path path) : files_(std::move(path)) {}

void LogWriter::begin(LogSettings settings) {
  set_up(std::move(settings));
  stdout_.unfinished = stderr_.unfinished = Unfinished();  // of a run whose end was discarded
  const auto created = position_.create(files_.path().string() + ".position");
  if (!created) spdlog::warn("{}", created.error().message);
  has_position_ = created.has_value();
}

std::optional<LogPosition::Streams> LogWriter::resume(LogSettings settings) {
  set_up(std::move(settings));
  const auto found = position_.open(files_.path().string() + ".position");
  if (!found) spdlog::warn("{}", found.error().message);
  has_position_ = found.has_value();
  if (!found) return std::nullopt;
  if (found->unfinished) files_.cut(found->unfinished->inode, found->unfinished->size);
  stdout_.unfinished.lines_bytes = found->streams.out;
  stderr_.unfinished.lines_bytes = found->streams.err;
  return found->streams;
}

void LogWriter::set_up(LogSettings settings) {
  settings_ = std::move(settings);
  stdout_.end = stderr_.end = LineEnd();
  // While a file is being compressed no file is rotated or gets another number.
  if (!compressing_) files_.set_up(settings_.max_files);
}

std::filesystem::path LogWriter::to_compress_at_begin() {
  std::error_code error;
  const std::filesystem::path newest = files_.numbered(files_.newest_number());
  if (!settings_.compress || compressing_ || !std::filesystem::exists(newest, error)) return {};
  compressing_ = true;
  return newest;
}

template <typename Function>
void LogWriter::for_each_cursor(Function function) {
  std::erase_if(cursors_, [&](const std::weak_ptr<LogCursor>& weak) {
    const std::shared_ptr<LogCursor> cursor = weak.lock();
    if (cursor) function(*cursor);
    return !cursor;
  });
}

LogWriter::Turn LogWriter::append(Stream stream, std::span<const std::byte> bytes, TimeNs now) {
  std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  Unfinished& line = state(stream).unfinished;
  Turn turn;
  turn_.changes_left = kTurnChanges;
  while (!text.empty() && lines_.size() < kTurnBytes) {
    const std::size_t room = kMaxLine - line.text.size();
    const std::size_t newline = text.substr(0, room).find('\n');
    const std::size_t take = newline == text.npos ? std::min(room, text.size()) : newline + 1;
    if (newline != text.npos || take == room) {
      if (const Room found = make_room(); found != Room::kThere) {
        turn.blocked = found == Room::kBlocked;
        break;
      }
      if (line.text.empty()) {
        add_line(stream, line, text.substr(0, take), now);
      } else {
        line.text.append(text.substr(0, take));
        add_line(stream, line, line.text, now);
        line.text.clear();
      }
    } else {
      line.text.append(text.substr(0, take));
    }
    text.remove_prefix(take);
  }
  turn.taken = bytes.size() - text.size();
  turn.done = text.empty();
  turn.unfinished = has_position_ ? line.text.size() : 0;
  return end_turn(std::move(turn));
}

LogWriter::Turn LogWriter::finish(TimeNs now) {
  Turn turn;
  turn_.changes_left = kTurnChanges;
  for (const Stream stream : {Stream::kStdout, Stream::kStderr}) {
    Unfinished& line = state(stream).unfinished;
    if (line.text.empty()) continue;
    if (const Room found = make_room(); found != Room::kThere) {
      turn.blocked = found == Room::kBlocked;
      return end_turn(std::move(turn));
    }
    add_line(stream, line, line.text, now);
    line.text.clear();
  }
  turn.done = true;
  turn = end_turn(std::move(turn));
  stdout_.unfinished = stderr_.unfinished = Unfinished();
  files_.close();
  return turn;
}

LogWriter::Turn LogWriter::end_turn(Turn turn) {
  turn.written = write_out();
  if (turn_.failure && !turn.written) turn_.failure = std::move(turn.written);
  turn.written = std::exchange(turn_.failure, {});
  turn.to_compress = std::exchange(turn_.to_compress, {});
  turn.encoded =
      std::exchange(turn_.encoded, 0) +
      static_cast<std::size_t>(std::max(0, kTurnChanges - turn_.changes_left)) * kChangeBytes;
  return turn;
}

bool LogWriter::is_full() const {
  return settings_.max_size != -1 &&
         files_.size() + static_cast<std::int64_t>(lines_.size()) >= settings_.max_size;
}

/// Rotates the log if it is full, before a line is added.
LogWriter::Room LogWriter::make_room() {
  if (!is_full()) return Room::kThere;
  if (turn_.changes_left <= 0) return Room::kLater;
  // One file is compressed at a time. A log that may not wait for that grows on a little.
  if (compressing_) return settings_.blocking ? Room::kBlocked : Room::kThere;
  turn_.failure = write_out();
  if (turn_.failure) turn_.failure = open_file();
  if (!turn_.failure) return Room::kThere;
  rotate();
  return Room::kThere;
}

void LogWriter::rotate() {
  const std::int64_t before = files_.newest_number();
  turn_.failure = files_.rotate(turn_.changes_left);
  for_each_cursor([this](LogCursor& cursor) {
    --turn_.changes_left;
    cursor.seal();
    cursor.add_live_file();
  });
  if (!settings_.compress || files_.newest_number() == before) return;
  compressing_ = true;
  turn_.to_compress = files_.numbered(files_.newest_number());
}

std::string_view LogWriter::line_end(Stream stream, TimeNs time) {
  LineEnd& end = state(stream).end;
  if (end.text.empty() || end.time != time)
    end = {.time = time, .text = log_line_end(stream, time, settings_.attributes)};
  return end.text;
}

void LogWriter::add_line(Stream stream, Unfinished& line, std::string_view text, TimeNs now) {
  const bool whole = text.back() == '\n';
  // All parts of a split line bear the time of the first.
  if (!whole && line.split_at == 0) line.split_at = now;
  const TimeNs time = line.split_at != 0 ? line.split_at : now;
  if (whole) line.split_at = 0;
  // What the log may not wait for is dropped.
  const bool drop = is_full() && !settings_.blocking &&
                    files_.size() + static_cast<std::int64_t>(lines_.size()) - settings_.max_size >=
                        settings_.max_buffer;
  if (!drop) {
    const std::size_t before = lines_.size();
    append_log_line(lines_, text, line_end(stream, time));
    turn_.encoded += lines_.size() - before;
  }
  line.lines_bytes += text.size();
}

Result<void> LogWriter::open_file() {
  const auto opened = files_.open();
  if (!opened) return opened.error();
  if (*opened) for_each_cursor([](LogCursor& cursor) { cursor.add_live_file(); });
  return {};
}

/// What could not be written is dropped, whole lines of it: the process goes on, as with Docker.
Result<void> LogWriter::write_out() {
  Result<void> written;
  if (!lines_.empty()) {
    written = open_file();
    if (written) {
      position_.begin_write(files_.inode(), files_.size());
      written = files_.write(lines_);
    }
    lines_ = std::string();
  }
  position_.end_write(
      {.out = stdout_.unfinished.lines_bytes, .err = stderr_.unfinished.lines_bytes});
  return written;
}

}  // namespace engine
