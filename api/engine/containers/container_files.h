// ContainerFiles: a container's files, through the files tool of its guest
// (guest-init/protocol/files.h).
//
// The tool runs in the container's machine; for a container that does not run, in a machine started
// for that, while the container can neither start nor be removed. The host never reads a filesystem
// that a guest could write.
// Threads: the io_context thread. A task goes on by itself: it ends when its tool ends, or when the
// reader of `output` closes it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "api/async/byte_pipe.h"
#include "api/engine/containers/containers.h"

namespace engine {

/// Its processes have the numbers from here on, which no exec has: Execs count in the lower half.
inline constexpr ProcessId kFirstFilesProcess = 0x8000'0000u;

struct FilesTask {
  std::vector<std::string> command;         // the tool's arguments
  bool changes_files = false;               // what it wrote must be on the disk before it ends
  std::shared_ptr<async::BytePipe> output;  // frames; finished with what went wrong
  std::shared_ptr<async::BytePipe> input;   // frames; null: none
};

}  // namespace engine
