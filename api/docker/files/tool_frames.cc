#include "api/docker/files/tool_frames.h"

#include "api/engine/container/machine_spec.h"

namespace docker {

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

std::shared_ptr<BytePipe> start_reading(engine::ContainerFiles& files,
                                        engine::ContainerPtr container,
                                        std::vector<std::string> command) {
  return files.start_reading(std::move(container), std::move(command));
}

std::shared_ptr<BytePipe> start_reading_changes(engine::ContainerFiles& files,
                                                engine::ContainerPtr container, std::string form) {
  std::vector<std::string> command = engine::volume_places(container->settings.config);
  command.insert(command.begin(), std::move(form));
  return start_reading(files, std::move(container), std::move(command));
}

}  // namespace docker
