// LogCursor: a place in a container's log, over all its files, from the oldest line to the newest.
//
// Used in the turns of the log's LogWriter, whose files it reads; the writer tells it of every
// rotation. Threads: any, one call at a time; behind() and give_up() from any thread. A call does a
// bounded amount of work and says whether there is more. Files with a number are opened when their
// turn comes: one that went meanwhile is not there, as with Docker. One that follows has every
// later file. Memory: one read; for one that follows, files of at most kSmallFile each that were
// rotated meanwhile, kMaxBehind and one write together (larger ones stay open instead, kMaxOpen of
// them). Trust: damaged lines and files are skipped.
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

  /// Finds the files; to be repeated, without a turn of the writer in between, until it says true.
  /// From then on the writer must know it.
  base::Result<bool> open_some();
  /// Moves to the last `lines` lines; to be repeated, after open_some() and before the first
  /// next_batch(), until it says true.
  base::Result<bool> seek_some(std::size_t lines);
  /// The next entries; possibly none although there is more.
  base::Result<LogBatch> next_batch();

  // From the writer: the present file was rotated; a new one was opened.
  bool has_live_file() const;
  void seal();
  void add_live_file();

  /// It follows, and has more to read than shall be kept for it.
  bool behind() const { return behind_; }
  /// What it is behind with is dropped when it, or the writer, has its next turn.
  void give_up() { given_up_ = true; }
  /// It was given up and has not caught up since.
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

  static constexpr std::size_t kSmallFile = 64u << 10;
  static constexpr std::size_t kMaxBehind = 256u << 10;
  static constexpr std::size_t kMaxOpen = 4;
  static constexpr int kNamesAtOnce = 512;

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
