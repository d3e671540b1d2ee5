// spawn: starts a program with exactly the descriptors it is given, born inside its cgroup.
//
// Threads: any. Blocks until the program has begun.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace base {

/// A child of this process, which reaps it.
struct Spawned {
  pid_t pid = -1;
  UniqueFd pidfd;
};

struct SpawnPlan {
  std::vector<std::string> argv;  // argv[0] is the program's path
  /// The child's descriptors 0, 1, 2, ...: copies of these (-1: /dev/null). It gets no others.
  std::vector<int> descriptors;
  bool own_pid_namespace = false;  // the child sees no other process of the host
  int group = -1;                  // an open cgroup v2 directory to be born in, or -1
  /// How soon it dies when the host runs out of memory (proc(5)): not its parent's.
  int oom_score_adj = 0;
};

/// The child has an empty environment, default signals, its own session, and is killed when this
/// call's Error says that it did not get as far as execve.
Result<Spawned> spawn(const SpawnPlan& plan);

}  // namespace base
