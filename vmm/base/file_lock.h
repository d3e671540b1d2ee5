// FileLock: one process at a time has a directory.
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

/// Held (flock(2)) as long as the descriptor is open; the file is made if it is missing. Blocks for
/// at most `patience`: a process that was killed leaves its lock to a child that it had just
/// forked, until that child has begun its program. kAlreadyExists: somebody else has it.
inline Result<UniqueFd> lock_file(const std::string& path,
                                  std::chrono::milliseconds patience = std::chrono::seconds(2)) {
  constexpr std::chrono::milliseconds kPause{20};
  UniqueFd lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock) return errno_error("open " + path);
  for (std::chrono::milliseconds waited{0};; waited += kPause) {
    if (::flock(lock.get(), LOCK_EX | LOCK_NB) == 0) return lock;
    if (errno != EWOULDBLOCK) return errno_error("lock " + path);
    if (waited >= patience) return Error{Code::kAlreadyExists, path + ": somebody else has it"};
    std::this_thread::sleep_for(kPause);
  }
}

}  // namespace base
