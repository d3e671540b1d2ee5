// LogPosition: how much of a run's output streams is in its log, in a small file that outlives the
// daemon. Whoever takes the container over asks the guest for what follows, so that no line is lost
// and none is there twice, however the last daemon ended.
//
// A write to the log is announced (begin_write) and confirmed (end_write). The file is mapped
// memory: both cost no system call, and what was stored is there after the process was killed.
// After the host itself crashed nothing of the run is left anyway. Owned by its LogWriter. Threads:
// any, one call at a time. Trust: the file is the daemon's own, yet a damaged one only means
// that its numbers are not used.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>

#include "vmm/base/result.h"

namespace engine {

class LogPosition {
 public:
  /// Bytes of the two streams since the process started.
  struct Streams {
    std::uint64_t out = 0;
    std::uint64_t err = 0;
  };

  /// A write that was not finished: once the log file `inode` is cut back to `size`, `streams` is
  /// right.
  struct Unfinished {
    ino_t inode = 0;
    std::int64_t size = 0;
  };

  struct Found {
    Streams streams;
    std::optional<Unfinished> unfinished;
  };

  LogPosition() = default;
  ~LogPosition();
  LogPosition(const LogPosition&) = delete;
  LogPosition& operator=(const LogPosition&) = delete;

  /// Makes the file for a new run: both streams at 0.
  base::Result<void> create(const std::filesystem::path& path);
  /// Opens the file of a run that goes on. kNotFound if there is none; kDataLoss if it is something
  /// else.
  base::Result<Found> open(const std::filesystem::path& path);

  void begin_write(ino_t inode, std::int64_t size);
  void end_write(Streams streams);

 private:
  struct Record;

  base::Result<void> map(const std::filesystem::path& path, int flags);

  Record* record_ = nullptr;
};

}  // namespace engine
