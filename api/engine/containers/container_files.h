// ContainerFiles: reads and writes a container's files by the files tool of its guest
// (guest-init/protocol/files.h).
//
// The tool runs in the container's machine; for a container that does not run, in a machine started
// for that, while the container can neither start nor be removed. The host never reads a filesystem
// that a guest could write.
// Threads: the io_context thread. A task goes on by itself: it ends when its tool ends, or when the
// reader of `output` closes it. What ContainerFiles is given outlives it.
// Errors arrive as the end of `output`.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "api/async/byte_pipe.h"
#include "api/async/net.h"
#include "api/engine/container/container.h"
#include "api/engine/container/container_waits.h"
#include "api/engine/containers/background.h"
#include "api/engine/containers/launcher.h"
#include "api/engine/containers/volume_claims.h"

namespace engine {

struct FilesTask {
  std::vector<std::string> command;         // the tool's arguments
  bool changes_files = false;               // what it wrote must be on the disk before it ends
  std::shared_ptr<async::BytePipe> output;  // frames; finished with what went wrong
  std::shared_ptr<async::BytePipe> input;   // frames; null: none
};

class ContainerFiles {
 public:
  struct Parts {
    net::any_io_executor executor;
    Launcher& launcher;
    VolumeClaims& claims;
    Background& background;
    Patience patience;
  };

  explicit ContainerFiles(Parts parts) : parts_(std::move(parts)) {}

  /// Runs a task of the files tool; it reports through its pipes.
  void start(ContainerPtr container, FilesTask task);
  /// Runs a task that only reads. `command`: the tool's arguments. The pipe that is returned gives
  /// its frames.
  std::shared_ptr<async::BytePipe> start_reading(ContainerPtr container,
                                                 std::vector<std::string> command);

 private:
  net::awaitable<void> run_task(ContainerPtr container, FilesTask task);
  net::awaitable<base::Result<void>> run_tool(ContainerPtr container, FilesTask task);
  net::awaitable<base::Result<void>> run_machine(ContainerPtr container, FilesTask task,
                                                 bool sees_volumes);
  net::awaitable<base::Result<void>> finish_tool(ProcessPtr tool,
                                                 std::shared_ptr<Machine> own_machine,
                                                 FilesTask task);
  net::awaitable<base::Result<protocol::ExitStatus>> tool_exit(
      ProcessPtr tool, std::shared_ptr<Machine> own_machine,
      std::shared_ptr<async::BytePipe> output);
  ProcessPtr make_tool(const FilesTask& task);

  Parts parts_;
  std::uint32_t processes_ = 0;  // how many were numbered
};

}  // namespace engine
