// ToolFrames: reads what one run of a guest's files tool (guest-init/protocol/files.h) says.
//
// Threads: the io_context thread. The run ends with its ToolFrames.
// Trust: the frames are the guest's; a frame is at most wire::kMaxFrameSize long.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "api/async/byte_pipe.h"
#include "api/engine/containers/container_files.h"
#include "api/engine/files/tool_error.h"
#include "vmm/base/wire.h"

namespace engine {

class ToolFrames {
 public:
  explicit ToolFrames(std::shared_ptr<async::BytePipe> pipe) : pipe_(std::move(pipe)) {}
  ToolFrames(const ToolFrames&) = delete;
  ToolFrames& operator=(const ToolFrames&) = delete;
  ~ToolFrames() { pipe_->close(); }

  /// The next frame. kUnavailable when the tool ended without having said that it is done.
  net::awaitable<base::Result<wire::RawFrame>> next();

  /// Closing it ends the run early.
  const std::shared_ptr<async::BytePipe>& pipe() const { return pipe_; }

 private:
  std::shared_ptr<async::BytePipe> pipe_;
  wire::FrameReader reader_;
};

/// As ContainerFiles::start_reading(), of what the container has changed: `form` is "changes" or
/// "layer". What is in its volumes does not count.
std::shared_ptr<async::BytePipe> start_reading_changes(ContainerFiles& files,
                                                       ContainerPtr container, std::string form);

}  // namespace engine
