// LogWriter: makes lines of a container's output, writes them into its log's files (log_files.h)
// and keeps the position (log_position.h).
//
// Part of a ContainerLog, which calls it for one turn after another. Threads: any, one call at a
// time; the cursors that read the same log are used in the same turns. A turn is bounded: it
// encodes kTurnBytes and one line at most, and changes the directory kTurnChanges times and a few
// more at most. Memory: what one turn encodes, an unfinished line of each stream. Trust: the text
// is the guest's; a line longer than kMaxLine is split, as Docker does.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "api/engine/output/json_log.h"
#include "api/engine/output/log_files.h"
#include "api/engine/output/log_position.h"
#include "api/engine/settings/log_settings.h"
#include "vmm/base/result.h"

namespace engine {

class LogCursor;

class LogWriter {
 public:
  static constexpr std::size_t kMaxLine = 16u << 10;
  static constexpr std::size_t kTurnBytes = 256u << 10;
  static constexpr int kTurnChanges = 64;

  /// What came of a turn.
  struct Turn {
    std::size_t taken = 0;                // of the bytes given
    bool done = false;                    // nothing is left to do
    bool blocked = false;                 // until the file that was rotated last is compressed
    std::filesystem::path to_compress{};  // until compressed() it is the caller's; or empty
    std::size_t encoded = 0;  // bytes of the log, and what the changes to the directory amount to
    std::size_t unfinished = 0;  // so many of the stream's bytes taken resume() would not count
    base::Result<void> written;
  };

  explicit LogWriter(std::filesystem::path path);

  /// See ContainerLog.
  void begin(LogSettings settings);
  std::optional<LogPosition::Streams> resume(LogSettings settings);

  Turn append(protocol::Stream stream, std::span<const std::byte> bytes, TimeNs now);
  /// Writes unfinished lines; to be repeated until it is done.
  Turn finish(TimeNs now);

  /// The file that an earlier run or daemon has left to compress, as Turn::to_compress. Called
  /// after begin() or resume().
  std::filesystem::path to_compress_at_begin();
  void compressed() { compressing_ = false; }

  const LogFiles& files() const { return files_; }
  /// From now on `cursor` is told of rotations, and if it follows, of new files.
  void add_cursor(const std::shared_ptr<LogCursor>& cursor) { cursors_.push_back(cursor); }

 private:
  enum class Room { kThere, kLater, kBlocked };

  struct Unfinished {
    std::string text;
    TimeNs split_at = 0;            // when the first part of a line that was split was written
    std::uint64_t lines_bytes = 0;  // of the stream, in the lines before
  };
  /// log_line_end() of the stream's last line.
  struct LineEnd {
    TimeNs time = 0;
    std::string text;
  };
  struct StreamState {
    Unfinished unfinished;
    LineEnd end;
  };

  /// What the turn under way has come to, for its Turn.
  struct UnderWay {
    base::Result<void> failure;
    int changes_left = 0;
    std::size_t encoded = 0;
    std::filesystem::path to_compress{};
  };

  template <typename Function>
  void for_each_cursor(Function function);
  void set_up(LogSettings settings);
  StreamState& state(protocol::Stream stream) {
    return stream == protocol::Stream::kStderr ? stderr_ : stdout_;
  }
  Turn end_turn(Turn turn);
  bool is_full() const;
  Room make_room();
  void rotate();
  void add_line(protocol::Stream stream, Unfinished& line, std::string_view text, TimeNs now);
  std::string_view line_end(protocol::Stream stream, TimeNs time);
  base::Result<void> open_file();
  base::Result<void> write_out();

  LogFiles files_;
  LogSettings settings_;
  std::string lines_;  // complete, not yet written
  StreamState stdout_;
  StreamState stderr_;
  LogPosition position_;
  bool has_position_ = false;
  UnderWay turn_;
  std::atomic<bool> compressing_ = false;  // compressed() is called between turns, or in one
  std::vector<std::weak_ptr<LogCursor>> cursors_;
};

}  // namespace engine
