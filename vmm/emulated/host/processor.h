// Chooses the processor of this host that an emulated machine keeps to.
//
// Threads: any. Trust: claims are names that any process of this host's network namespace can take.
// Whoever takes them makes machines share processors, and nothing worse.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace emulated {

/// The processors this process may run on, by number. Error: the kernel's.
base::Result<std::vector<int>> usable_processors();

/// Sorts `candidates` by how long they were idle between two readings of /proc/stat (proc(5)), the
/// longest first. Those of which the readings tell nothing count as busy; equals keep their order.
std::vector<int> idlest_first(std::vector<int> candidates, std::string_view before,
                              std::string_view after);

/// A claim to one processor of this host. It ends with this object, or with the process.
class ProcessorClaim {
 public:
  /// Claims one of the processors that this process may use: of those with the fewest claims in
  /// `family`, the one that was idlest in the next 100 ms, during which this call waits. Two
  /// callers at the same moment get different ones if there are two. If each has 64 claims, the
  /// result is the idlest, without a claim. Error: the kernel's.
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
