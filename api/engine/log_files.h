// LogFiles: the files of one container's log and their rotation. The newest lines are in
// ID-json.log, older ones in ID-json.log.1, .2 and so on, or .1.gz, .2.gz.
//
// Part of a LogWriter. Threads: any, one call at a time. A call does a bounded amount of work: a
// rotation, whose renames are as many as there are files, is done over several. After a crash in
// the middle of one a number is missing; the next rotation goes only as far as that and closes it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace engine {

class LogFiles {
 public:
  explicit LogFiles(std::filesystem::path path);

  /// What holds for the run that begins. `most`: how many files there may be.
  void set_up(int most, bool compress);

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path numbered(int number, std::string_view extension = "") const;

  /// Opens the present file, if it is not open. True: it was opened now.
  base::Result<bool> open();
  void close() { file_.reset(); }
  /// All of `text` or nothing of it.
  base::Result<void> write(std::string_view text);
  /// Takes back what was written beyond `size`, if the present file is `inode`.
  void cut(ino_t inode, std::int64_t size);
  std::int64_t size() const { return size_; }
  ino_t inode() const { return inode_; }

  /// The present file gets the number 1, and those that have one the next. It is closed.
  void begin_rotation();
  bool rotating() const { return step_ != Step::kNone; }
  /// Goes on with it; each change to a directory takes 1 from `budget`. True: it is done.
  base::Result<bool> rotate_some(int& budget);
  /// The highest number that the rotation under way, or the last one, changes.
  int last_shifted() const { return last_; }
  /// The number that the file `number` has now, if it was that before the rotation under way.
  int number_now(int number) const;
  /// The other way round.
  int number_before(int number) const;

 private:
  enum class Step { kNone, kCounting, kShifting };

  void count_some(int& budget);
  void shift_some(int& budget);

  const std::filesystem::path path_;
  int most_ = 1;
  std::string_view extension_;
  base::UniqueFd file_;
  ino_t inode_ = 0;
  std::int64_t size_ = 0;
  Step step_ = Step::kNone;
  int last_ = 0;        // those up to here are there, without a gap
  int shift_from_ = 0;  // those above have their new number
  bool known_ = false;  // last_ was counted in this run
};

}  // namespace engine
