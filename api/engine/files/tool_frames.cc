#include "api/engine/files/tool_frames.h"

namespace engine {

using async::BytePipe;
using base::Code;
using base::Error;
using base::Result;

net::awaitable<Result<wire::RawFrame>> ToolFrames::next() {
  for (;;) {
    auto frame = reader_.next();
    if (!frame) co_return std::move(frame).error();
    if (frame->has_value()) co_return **std::move(frame);
    const auto piece = co_await pipe_->take();
    if (!piece) co_return piece.error();
    if (!*piece) co_return Error{Code::kUnavailable, "the files tool of the machine ended"};
    reader_.feed(**piece);
  }
}

std::shared_ptr<BytePipe> start_reading_changes(ContainerFiles& files, ContainerPtr container,
                                                std::string form) {
  std::vector<std::string> command = container->settings.mounts.volume_places;
  command.insert(command.begin(), std::move(form));
  return files.start_reading(std::move(container), std::move(command));
}

}  // namespace engine
