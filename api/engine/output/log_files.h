// LogFiles: names, writes and rotates the files of one container's log. The newest lines are in
// ID-json.log; ID-json.log.N, or ID-json.log.N.gz, are older ones, the more so the lower N is.
//
// A file keeps its number for good, so that a rotation costs the same however many files there are.
// Docker numbers the other way round and renames all of them each time.
// Part of a LogWriter. Threads: any, one call at a time. A call's work is bounded, but for set_up()
// after a daemon that allowed more files than kMostLogFiles.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace engine {

class LogFiles {
 public:
  explicit LogFiles(std::filesystem::path path);

  /// Takes stock of the files for the run that begins. `most`: how many files there may be.
  void set_up(int most);

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path numbered(std::int64_t number, std::string_view extension = "") const;
  /// The number of the file that was rotated last; 0 if there is none.
  std::int64_t newest_number() const { return newest_; }

  /// Opens the present file, if it is not open. True: it was opened now.
  base::Result<bool> open();
  void close() { file_.reset(); }
  /// Writes all of `text` or nothing of it.
  base::Result<void> write(std::string_view text);
  /// Takes back what was written beyond `size`, if the present file is `inode`.
  void cut(ino_t inode, std::int64_t size);
  std::int64_t size() const { return size_; }
  ino_t inode() const { return inode_; }

  /// The present file gets the next number, and another is opened. The oldest are removed until
  /// there are as many as there may be; what is beyond `budget`, the next rotation removes. Each
  /// change to the directory takes 1 from it.
  base::Result<void> rotate(int& budget);

 private:
  void remove_oldest(int& budget);

  const std::filesystem::path path_;
  int most_ = 1;
  base::UniqueFd file_;
  ino_t inode_ = 0;
  std::int64_t size_ = 0;
  std::int64_t oldest_ = 1;  // what is there lies in oldest_...newest_
  std::int64_t newest_ = 0;
};

struct LogFileName {
  std::int64_t number = 0;
  bool compressed = false;
};

/// Reads the name of a file in the directory of the log `path`; nullopt if it is not a rotated file
/// of that log.
std::optional<LogFileName> parse_log_file_name(const std::filesystem::path& path,
                                               std::string_view name);

}  // namespace engine
