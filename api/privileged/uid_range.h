// UidRange: the uids of one daemon's monitors. No two daemons of a host share any.
//
// The ranges of a host are numbered. A daemon has one as long as it holds the lock (flock(2)) of
// the range's file in the registry, which also names the daemon's state directory; the state
// directory remembers the number, so that the next daemon there has the same one. A range whose
// daemon has died may still have monitors, which the next one will take over: nobody else takes a
// range in which a process lives. The registry is on a file system that a restart of the host
// empties, as its processes end then.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace engine {

class UidRange {
 public:
  static constexpr uid_t kFirst = 2'000'000'000;  // above all that Debian hands out
  static constexpr std::uint32_t kUids = 65536;   // of each range
  static constexpr std::uint32_t kRanges = 2000;

  /// The range of the daemon of `state`: the one that it had, if it is still free, else a free one.
  /// Blocks shortly. kResourceExhausted: none is free.
  static base::Result<UidRange> claim(const std::filesystem::path& registry,
                                      const std::filesystem::path& state);

  uid_t first_uid() const { return kFirst + number_ * kUids; }

 private:
  UidRange(std::uint32_t number, base::UniqueFd lock) : number_(number), lock_(std::move(lock)) {}

  std::uint32_t number_;
  base::UniqueFd lock_;
};

}  // namespace engine
