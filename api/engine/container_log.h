// ContainerLog: the files of one container's log. The newest lines are in ID-json.log, older ones
// in ID-json.log.1, .2 and so on, or .1.gz, .2.gz (json_log.h tells the format of a line).
//
// Owned by its container, over all runs; readers and the output hub share it.
// Threads: the io_context thread. Writes go to the page cache; a large rotated file is compressed
// on the pool. Memory: one unfinished line per stream; what a reader that follows has yet to read,
// see LogReader. Trust: the text is the guest's. A line longer than kMaxLine is split, as Docker
// does.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>

#include "api/async/blocking_pool.h"
#include "api/async/net.h"
#include "api/async/notifier.h"
#include "api/engine/json_log.h"
#include "api/engine/log_position.h"
#include "api/engine/log_reader.h"
#include "api/engine/log_settings.h"
#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace engine {

class ContainerLog : public std::enable_shared_from_this<ContainerLog> {
 public:
  static constexpr std::size_t kMaxLine = 16u << 10;

  static constexpr std::chrono::milliseconds kPatience{1000};

  ContainerLog(net::any_io_executor executor, std::filesystem::path path,
               std::chrono::milliseconds patience = kPatience);

  /// What holds for the run that begins. `pool` outlives the log's use.
  void begin(LogSettings settings, async::BlockingPool& pool);
  /// The same for a run that an earlier daemon began: how much of its output is logged. Absent:
  /// that is not known.
  std::optional<LogPosition::Streams> resume(LogSettings settings, async::BlockingPool& pool);

  /// Completes when append() should be called: in blocking mode not before the last rotated file is
  /// compressed, if the next rotation is due, and not before those who follow have caught up (a
  /// client that takes nothing is waited for once, `patience` long).
  net::awaitable<void> ready();

  /// Takes output; complete lines are written. The file is created with the first line.
  base::Result<void> append(protocol::Stream stream, std::span<const std::byte> bytes, TimeNs now);
  /// How many of the bytes taken from `stream` resume() would not count.
  std::size_t unsafe_bytes(protocol::Stream stream) const;
  /// Writes unfinished lines: the run has ended.
  base::Result<void> finish(TimeNs now);

  /// What is logged now and, if it follows, what will be.
  base::Result<std::unique_ptr<LogReader>> read(bool follow);
  /// Completes after the next append() or finish().
  net::awaitable<void> wait_changed() { co_await changed_.wait(); }

  /// Completes when no file is being compressed: before the files are removed.
  net::awaitable<void> idle();

 private:
  friend class LogReader;
  struct Unfinished {
    std::string text;
    TimeNs split_at = 0;            // when the first part of a line that was split was written
    std::uint64_t lines_bytes = 0;  // of the stream, in the lines before
  };

  static net::awaitable<void> compress_on_pool(std::shared_ptr<ContainerLog> self,
                                               async::BlockingPool& pool);
  void set_up(LogSettings settings, async::BlockingPool& pool);
  void add_line(protocol::Stream stream, Unfinished& line, TimeNs now);
  base::Result<void> write_out();
  base::Result<void> open_file();
  base::Result<void> rotate();
  void shift_files();
  void compress_newest();
  bool is_full() const { return settings_.max_size != -1 && size_ >= settings_.max_size; }
  bool anyone_behind() const;
  std::filesystem::path position_path() const { return path_.string() + ".position"; }
  std::filesystem::path numbered(int number, std::string_view extension = "") const;

  net::any_io_executor executor_;
  const std::filesystem::path path_;
  const std::chrono::milliseconds patience_;
  LogSettings settings_;
  async::BlockingPool* pool_ = nullptr;
  base::UniqueFd file_;
  ino_t inode_ = 0;        // of file_
  std::int64_t size_ = 0;  // of file_, and lines_
  std::string lines_;      // complete, not yet written
  Unfinished stdout_;
  Unfinished stderr_;
  LogPosition position_;
  bool has_position_ = false;
  base::Result<void> failure_;  // of the append() under way
  bool compressing_ = false;
  std::set<LogReader*> followers_;
  async::Notifier changed_;
  async::Notifier progress_;  // a follower has read a file, or one has been compressed
};

}  // namespace engine
