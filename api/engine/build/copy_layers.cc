#include "api/engine/build/copy_layers.h"

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <functional>
#include <stop_token>
#include <utility>

#include "api/engine/containers/container_files.h"
#include "api/engine/files/byte_bridge.h"
#include "api/engine/files/tool_frames.h"

namespace engine::build {

using async::BytePipe;
using base::Code;
using base::Error;
using base::Result;
using namespace net::experimental::awaitable_operators;  // NOLINT: operator&& only

net::awaitable<void> CopyLayers::send(std::shared_ptr<const CopyPlan> plan,
                                      std::shared_ptr<base::UniqueFd> out,
                                      std::shared_ptr<Result<void>> result) {
  const std::function<Result<void>()> call = [&store = session_.parts.images, plan, out] {
    BridgeSink sink(out->get());
    auto sent = send_copy(store, *plan, sink);
    out->reset();
    return sent;
  };
  *result = co_await copying_.run(call);
}

net::awaitable<void> CopyLayers::take_layer(std::shared_ptr<BytePipe> output,
                                            images::CommitOptions options, MadePtr made) {
  auto frames = std::make_unique<ToolFrames>(std::move(output));
  *made = co_await session_.parts.commits.commit_layer(std::move(frames), std::move(options),
                                                       ContainerPtr(), session_.stop);
}

net::awaitable<Result<std::string>> CopyLayers::commit(ContainerPtr container, CopyPlan plan,
                                                       images::CommitOptions options) {
  const net::any_io_executor executor = session_.parts.executor;
  auto bridge = ByteBridge::make(executor);
  if (!bridge) co_return bridge.error();
  const auto input = std::make_shared<BytePipe>(executor);
  const auto output = std::make_shared<BytePipe>(executor);
  FilesTask task{.command = {"build"}, .changes_files = false, .output = output, .input = input};
  session_.parts.containers.files().start(container, std::move(task));

  const std::stop_callback ending(session_.stop, [input] { input->close(); });
  const auto shared_plan = std::make_shared<CopyPlan>(std::move(plan));
  shared_plan->stop = session_.stop;
  // An empty directory is a place without entries.
  const bool only_directory = shared_plan->sources.empty();
  if (only_directory)
    shared_plan->sources.push_back(
        {.tree = std::make_shared<const FileTree>(std::make_shared<base::UniqueFd>()),
         .path = "",
         .hash = ""});
  const auto out = std::make_shared<base::UniqueFd>(std::move(bridge->blocking_side));
  const auto sent = std::make_shared<Result<void>>();
  const auto made = std::make_shared<Result<images::LoadedImage>>(
      Error{Code::kUnavailable, "the build was interrupted"});
  co_await (send(shared_plan, out, sent) && pump_frames(std::move(bridge->coroutine_side), input) &&
            take_layer(output, std::move(options), made));
  if (!*made) co_return made->error();
  if (!*sent) co_return sent->error();
  co_return (*made)->id;
}

}  // namespace engine::build
