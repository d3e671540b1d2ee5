// spawn(): starts a program with exactly the descriptors it is given, inside its cgroup from the
// beginning.
//
// Threads: any. Blocks until the program has begun.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace base {

/// A child of this process. Whoever called spawn() reaps it.
struct Spawned {
  pid_t pid = -1;
  UniqueFd pidfd;
};

struct SpawnPlan {
  std::vector<std::string> argv;  // argv[0] is the program's path; not empty
  /// The child's descriptors 0, 1, 2, ...: copies of these (-1: /dev/null), at most 16. It gets no
  /// others.
  std::vector<int> descriptors;
  bool own_pid_namespace = false;  // the child sees no other process of the host
  int group = -1;                  // an open cgroup v2 directory to be born in, or -1
  /// How soon the child dies when the host runs out of memory (proc(5)). It does not inherit its
  /// parent's.
  int oom_score_adj = 0;
};

/// Starts the child with an empty environment, default signals and a session of its own. If it does
/// not get as far as execve, it ends, is reaped here, and the Error says why.
Result<Spawned> spawn(const SpawnPlan& plan);

}  // namespace base
