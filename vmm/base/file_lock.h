// lock_file(): a lock file, by which one process at a time has a directory or a number for itself.
#pragma once

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>
#include <chrono>
#include <string>
#include <thread>

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace base {

/// Takes the lock on `path` (flock(2)), which is held as long as the returned descriptor is open.
/// Makes the file if it is missing. Blocks for at most `patience`: a child that a killed process
/// had just forked keeps its lock until the child has begun its own program. kAlreadyExists:
/// another process holds the lock.
inline Result<UniqueFd> lock_file(const std::string& path,
                                  std::chrono::milliseconds patience = std::chrono::seconds(2)) {
  constexpr std::chrono::milliseconds kPause{20};
  UniqueFd lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock) return errno_error("open " + path);
  for (std::chrono::milliseconds waited{0};; waited += kPause) {
    if (::flock(lock.get(), LOCK_EX | LOCK_NB) == 0) return lock;
    if (errno != EWOULDBLOCK) return errno_error("lock " + path);
    if (waited >= patience)
      return Error{Code::kAlreadyExists, path + ": another process holds this lock"};
    std::this_thread::sleep_for(kPause);
  }
}

}  // namespace base
