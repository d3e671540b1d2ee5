// ImageCommits: a container becomes an image. How its files become a layer: layer_commit.cc.
#include "api/engine/images/image_commits.h"

#include "api/engine/images/commit_config.h"
#include "api/engine/images/image_events.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;
using nlohmann::json;

namespace {

Result<void> check_state(const Container& container) {
  const auto refuse = [&](const char* state) {
    return Error{Code::kConflict,
                 "You cannot commit container " + container.id + " which is " + state};
  };
  if (container.state.status == Status::kDead) return refuse("Dead");
  if (container.removal.done || container.state.status == Status::kRemoving)
    return refuse("being removed");
  return {};
}

std::string text_of(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string command_text(const json& config) {
  std::string text;
  if (!config.at("Cmd").is_array()) return text;
  for (const json& word : config.at("Cmd"))
    text += (text.empty() ? "" : " ") + word.get<std::string>();
  return text;
}

}  // namespace

Result<CommitPlan> plan_commit(CommitRequest request) {
  RETURN_IF_ERROR(check_state(*request.container));
  const json& own = request.container->settings.document.config;
  const auto config = commit_config(own, request.config, request.changes);
  if (!config) return config.error();
  images::CommitOptions options{.parent = request.container->origin.image_id,
                                .repository_and_tag = std::move(request.name),
                                .config = text_of(*config),
                                .container = request.container->id,
                                .container_config = text_of(own),
                                .created_by = command_text(own),
                                .author = std::move(request.author),
                                .comment = std::move(request.comment)};
  return CommitPlan{.container = std::move(request.container),
                    .options = std::move(options),
                    .pause = request.pause};
}

/// Pauses the container for as long as its files are read: what is made of them then needs no
/// container. A pause that fails does not keep the commit from being made, as with Docker.
net::awaitable<bool> ImageCommits::begin_pause(CommitPlan plan) {
  if (!plan.pause) co_return false;
  const auto begun = co_await parts_.containers.pauses().begin_commit(plan.container);
  co_return begun.has_value() && *begun;
}

ImageCommits::Made ImageCommits::commit(CommitPlan plan, std::stop_token stop) {
  const bool paused = co_await begin_pause(plan);
  auto frames = std::make_unique<ToolFrames>(
      start_reading_changes(parts_.containers.files(), plan.container, "layer"));
  const ContainerPtr paused_one = paused ? plan.container : nullptr;
  auto made = co_await commit_layer(std::move(frames), plan.options, paused_one, std::move(stop));
  if (!made) co_return made;
  const std::string name = made->repo_tags.empty() ? "" : made->repo_tags.front();
  if (!name.empty()) publish_image_event(parts_.events, "tag", made->id, name);
  parts_.containers.publish(
      *plan.container, "commit",
      {{"comment", plan.options.comment}, {"imageID", made->id}, {"imageRef", name}});
  co_return made;
}

}  // namespace engine
