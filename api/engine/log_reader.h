// LogReader: reads a container's log over all its files, from the oldest line to the newest.
//
// It has its files open, so none is lost to it when they are rotated; ContainerLog gives a reader
// that follows each new file. Threads: the io_context thread; one call does a bounded amount of
// work (kReadSize), and the caller lets others run between two. Memory: one read; for a reader that
// follows, files of at most kSmallFile each that were rotated meanwhile, kMaxBehind and one write
// together (larger ones stay open instead, kMaxOpen of them). Trust: damaged lines and files are
// skipped.
#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "api/async/net.h"
#include "api/engine/json_log.h"
#include "vmm/base/result.h"

namespace engine {

class ContainerLog;

struct LogBatch {
  std::vector<LogEntry> entries;
  bool at_end = false;  // there is no more now
};

class LogReader {
 public:
  static constexpr std::size_t kReadSize = 64u << 10;

  ~LogReader();
  LogReader(const LogReader&) = delete;
  LogReader& operator=(const LogReader&) = delete;

  /// Moves to the last `lines` lines. Before the first next_batch().
  net::awaitable<base::Result<void>> seek_to_tail(std::size_t lines);

  /// The next entries; possibly none although there is more.
  base::Result<LogBatch> next_batch();

 private:
  friend class ContainerLog;
  struct Source;
  using SourcePtr = std::unique_ptr<Source>;

  static constexpr std::size_t kSmallFile = 64u << 10;
  static constexpr std::size_t kMaxBehind = 256u << 10;
  static constexpr std::size_t kMaxOpen = 4;

  LogReader(std::shared_ptr<ContainerLog> log, bool follow);
  base::Result<void> open_files();
  net::awaitable<base::Result<std::size_t>> count_lines(Source& source);
  net::awaitable<base::Result<std::size_t>> seek_back(Source& source, std::size_t lines);
  void take_lines(Source& source, LogBatch& batch);

  // For ContainerLog: the file that is followed was rotated; a new one is written.
  bool has_live_file() const;
  void seal();
  void add_live_file(const std::filesystem::path& path);
  bool is_behind() const;
  void skip_what_is_behind();

  std::shared_ptr<ContainerLog> log_;
  const bool follow_;
  bool given_up_ = false;          // it is not waited for until it has caught up
  std::deque<SourcePtr> sources_;  // oldest first
  std::string buffer_;             // read of the first source, not yet a whole line
};

}  // namespace engine
