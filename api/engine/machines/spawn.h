// spawn: starts a program with exactly the descriptors it is given, born inside its cgroup.
#pragma once

#include <string>
#include <vector>

#include "api/engine/machines/privileged.h"

namespace engine {

struct SpawnPlan {
  std::vector<std::string> argv;  // argv[0] is the program's path
  /// The child's descriptors 0, 1, 2, ...: copies of these (-1: /dev/null). It gets no others.
  std::vector<int> descriptors;
  bool own_pid_namespace = false;  // the child sees no other process of the host
  int group = -1;                  // an open cgroup v2 directory to be born in, or -1
};

/// The child has an empty environment, default signals, its own session, and is killed when this
/// call's Error says that it did not get as far as execve.
base::Result<SpawnedMonitor> spawn(const SpawnPlan& plan);

}  // namespace engine
