// LogCursor: a place in a container's log, over all its files, from the oldest line to the newest.
//
// Used in the turns of the log's LogWriter, whose files it reads; the writer tells it of every
// rotation. Threads: any, one call at a time; behind() and give_up() from any thread. A call does a
// bounded amount of work and says whether there is more. Files with a number are opened when their
// turn comes: a file that was removed meanwhile is missed, as with Docker. A cursor that follows
// misses no later file unless it is given up.
// Memory: one read. A cursor that follows also keeps what was rotated before it came there: files
// of at most 64 KiB in memory, 256 KiB and one write together, and four larger ones open; with more
// it is behind().
// Trust: damaged lines and files are skipped.
#pragma once

#include <dirent.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "api/engine/output/gzip_file.h"
#include "api/engine/output/json_log.h"
#include "api/engine/output/log_files.h"
#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace engine {

struct LogBatch {
  std::vector<LogEntry> entries;
  bool at_end = false;  // there is no more now
};

class LogCursor {
 public:
  static constexpr std::size_t kReadSize = 64u << 10;

  /// `files` outlives it.
  LogCursor(const LogFiles& files, bool follow);

  /// Finds the files; to be repeated, without a turn of the writer in between, until it returns
  /// true. From then on the writer must know this cursor (LogWriter::add_cursor()).
  base::Result<bool> open_some();
  /// Moves to the last `lines` lines; to be repeated, after open_some() and before the first
  /// next_batch(), until it returns true.
  base::Result<bool> seek_some(std::size_t lines);
  /// The next entries; possibly none although there is more.
  base::Result<LogBatch> next_batch();

  // Called by the writer: the present file was rotated; a new one was opened.
  bool has_live_file() const;
  void seal();
  void add_live_file();

  /// Whether it follows and has more to read than is kept for it.
  bool behind() const { return behind_; }
  /// Gives up what it is behind with: that is dropped in its next turn, or the writer's.
  void give_up() { given_up_ = true; }
  /// Whether it was given up and has not caught up since.
  bool given_up() const { return given_up_; }

 private:
  /// One file, or what was in it.
  struct Source {
    std::int64_t number = 0;  // 0: the present file
    base::UniqueFd file;
    std::optional<GzipReader> gzip;
    std::string memory;
    std::int64_t offset = 0;
    std::int64_t limit = INT64_MAX;  // what was written later is not read
    std::int64_t skip_bytes = 0;     // of what is decompressed
    std::size_t skip_lines = 0;
    bool sealed = false;  // nothing is added any more
    bool begun = false;   // it stays what it is

    base::Result<std::size_t> read(std::span<char> out);
    void close();
  };
  using SourcePtr = std::unique_ptr<Source>;

  struct CloseDirectory {
    void operator()(DIR* directory) const { ::closedir(directory); }
  };
  struct Seek {
    std::size_t source = 0;             // behind the one that is looked at
    std::size_t lines = 0;              // still wanted
    std::optional<std::int64_t> end{};  // of a plain file: what is looked at next ends here
    std::size_t found = 0;              // in this file
  };

  base::Result<void> begin_listing();
  void list(std::string_view name);
  base::Result<void> end_listing();
  base::Result<bool> open_source(Source& source);
  base::Result<bool> seek_back(Source& source);
  base::Result<bool> count_lines(Source& source);
  base::Result<bool> seek_done(Source& source);
  void take_lines(Source& source, LogBatch& batch);
  void pop_source();
  void drop_if_given_up();
  void update_behind();

  const LogFiles& files_;
  const bool follow_;
  std::unique_ptr<DIR, CloseDirectory> directory_;  // while files are looked for
  std::set<std::int64_t> numbers_;
  std::optional<Seek> seek_;
  std::deque<SourcePtr> sources_;  // oldest first
  std::string buffer_;             // read of the first source, not yet a whole line
  std::atomic<bool> behind_ = false;
  std::atomic<bool> given_up_ = false;
};

}  // namespace engine
