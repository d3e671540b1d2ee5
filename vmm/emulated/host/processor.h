// Which processor of this host an emulated machine keeps to.
//
// Trust: claims are names that any process of this host's network namespace can take. Whoever takes
// them makes machines share processors, and nothing worse.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace emulated {

/// The processors this process may run on, by number. Error: the kernel's.
base::Result<std::vector<int>> usable_processors();

/// `candidates`, those first that were idle longest between two readings of /proc/stat (proc(5));
/// in their order where the readings do not tell.
std::vector<int> idlest_first(std::vector<int> candidates, std::string_view before,
                              std::string_view after);

/// A processor that is kept for somebody, as long as this object lives and no longer than its
/// process.
class ProcessorClaim {
 public:
  /// One of the processors this process may use: of those with the fewest claims in `family`, the
  /// idlest of the last 100 ms, for which it waits. Two who ask at the same moment get different
  /// ones if there are two. Where every name is taken, the idlest. Error: the kernel's.
  static base::Result<ProcessorClaim> take(const std::string& family);

  int processor() const { return processor_; }

 private:
  ProcessorClaim(int processor, base::UniqueFd name)
      : processor_(processor), name_(std::move(name)) {}

  int processor_;
  base::UniqueFd name_;  // a socket that is bound to the claim's name
};

/// Keeps the calling thread, and what it starts from now on, on one processor. May be called
/// between fork and exec. Error: the kernel's.
base::Result<void> stay_on_processor(int processor);

}  // namespace emulated
