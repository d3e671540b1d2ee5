#pragma once

#include <string_view>
#include <vector>

#include "vmm/base/result.h"

namespace emulated {

/// The processors this process may run on, by number. Error: the kernel's.
base::Result<std::vector<int>> usable_processors();

/// Which of `candidates` (at least one) was idle longest between two readings of /proc/stat
/// (proc(5)); the first of them where the readings do not tell.
int idlest_processor(const std::vector<int>& candidates, std::string_view before,
                     std::string_view after);

/// The idlest processor of the last 100 ms, for which it waits, of those this process may use.
/// Error: the kernel's.
base::Result<int> find_idlest_processor();

/// Keeps the calling thread, and what it starts from now on, on one processor. May be called
/// between fork and exec. Error: the kernel's.
base::Result<void> stay_on_processor(int processor);

}  // namespace emulated
