#include "api/engine/build/step_containers.h"

#include <spdlog/spdlog.h>

#include <csignal>
#include <functional>
#include <stop_token>
#include <string_view>
#include <utility>

#include "api/engine/settings/settings.h"

namespace engine::build {

using base::Result;
using nlohmann::json;

namespace {

/// How many bytes at the end of `bytes` begin a character that is not finished.
std::size_t unfinished(std::string_view bytes) {
  for (std::size_t back = 1; back <= 3 && back <= bytes.size(); ++back) {
    const auto byte = static_cast<unsigned char>(bytes[bytes.size() - back]);
    if ((byte & 0xc0u) == 0x80u) continue;
    const std::size_t needed = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return needed > back ? back : 0;
  }
  return 0;
}

net::awaitable<void> kill_now(Containers& containers, ContainerPtr container) {
  const auto killed = co_await containers.kill(container, SIGKILL);
  if (!killed) spdlog::debug("cancel a build: {}", killed.error().message);
}

}  // namespace

/// The image so far; where there is none yet, one without files that is removed with the step.
net::awaitable<Result<std::string>> StepContainers::image_for(const BuildState& state) {
  if (!state.image_id.empty()) co_return state.image_id;
  images::CommitOptions options = state.commit_options(state.config, "");
  const auto made = co_await session_.parts.commits.commit_config_only(std::move(options));
  if (!made) co_return made.error();
  temporary_images_.push_back(made->id);
  co_return made->id;
}

net::awaitable<Result<ContainerPtr>> StepContainers::make(const BuildState& state, json body,
                                                          bool files_only) {
  const auto image = co_await image_for(state);
  if (!image) co_return image.error();
  body["Image"] = *image;
  auto settings = parse_settings(body);
  if (!settings) co_return std::move(settings).error();
  CreateRequest request{
      .name = {}, .settings = *std::move(settings), .of_build = true, .files_only = files_only};
  auto container = co_await session_.parts.containers.create(std::move(request));
  if (container) made_.push_back({.id = (*container)->id, .container = *container});
  co_return container;
}

void StepContainers::kill(const ContainerPtr& container) {
  tasks_.spawn("cancel a build", kill_now(session_.parts.containers, container));
}

net::awaitable<Result<void>> StepContainers::run(ContainerPtr container) {
  auto attachment = container->run.process->attach(true, true);
  const std::uint64_t exits = container->run.exits;
  const std::stop_callback ending(session_.stop, [&] { kill(container); });
  const auto started = co_await session_.parts.containers.start(container);
  if (!started) co_return started.error();
  // There was nothing to kill yet.
  if (session_.cancelled()) kill(container);
  co_await forward(std::move(attachment));
  [[maybe_unused]] const auto result = co_await wait(container, WaitCondition::kNotRunning, exits);
  if (session_.cancelled()) co_return cancelled_error();
  co_return Result<void>();
}

net::awaitable<void> StepContainers::forward(std::unique_ptr<Attachment> attachment) {
  std::string held[2];  // the beginning of a character whose end has not come
  for (;;) {
    const auto chunk = co_await attachment->next();
    if (!chunk) break;
    const bool error = chunk->stream == protocol::Stream::kStderr;
    std::string& text = held[error ? 1 : 0];
    text.append(reinterpret_cast<const char*>(chunk->bytes.data()), chunk->bytes.size());
    const std::size_t whole = text.size() - unfinished(text);
    if (whole == 0) continue;
    session_.tell(StepOutput{.is_error = error, .text = text.substr(0, whole)});
    text.erase(0, whole);
    co_await session_.listener->room();
  }
  if (!held[0].empty()) session_.tell(StepOutput{.is_error = false, .text = held[0]});
  if (!held[1].empty()) session_.tell(StepOutput{.is_error = true, .text = held[1]});
}

net::awaitable<void> StepContainers::end_step(bool failed) {
  const bool removes = failed ? session_.options.force_remove : session_.options.remove;
  for (const Made& made : std::exchange(made_, {})) co_await remove(made, removes);
  for (const std::string& image : std::exchange(temporary_images_, {}))
    co_await remove_image(image);
}

net::awaitable<void> StepContainers::remove(Made made, bool removes) {
  Containers& containers = session_.parts.containers;
  const bool told = !made.id.empty();
  if (removes && told) session_.tell(ContainerRemoved{.container = made.id});
  const ContainerPtr container = made.container;
  if (!container) co_return;
  if (removes || !told || session_.cancelled()) {
    const auto removed = co_await containers.remove(container, {.force = true, .volumes = true});
    if (!removed && !container->removal.done)
      spdlog::error("remove {}: {}", container->short_id(), removed.error().message);
  } else if (auto kept = containers.keep_after_build(container); !kept) {
    spdlog::error("{}", kept.error().message);
  }
}

net::awaitable<void> StepContainers::remove_image(std::string id) {
  const std::function<Result<void>()> call = [&store = session_.parts.images,
                                              id]() -> Result<void> {
    // A container that is kept needs it.
    if (auto removed = store.remove(id, {}); !removed) return std::move(removed).error();
    return {};
  };
  [[maybe_unused]] const auto removed = co_await session_.parts.pool.run(call);
}

}  // namespace engine::build
