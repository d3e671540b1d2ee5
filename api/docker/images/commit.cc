// commit: an image from a container. How its files become a layer: layer_commit.h.
#include <functional>
#include <nlohmann/json.hpp>

#include "api/async/shield.h"
#include "api/docker/api.h"
#include "api/docker/files/tool_frames.h"
#include "api/docker/images/commit_config.h"
#include "api/docker/images/image_routes.h"
#include "api/docker/images/layer_commit.h"

namespace docker {

using base::Code;
using base::Error;
using base::Result;
using engine::ContainerPtr;
using http::Exchange;
using http::Request;
using http::Response;
using http::Status;
using nlohmann::json;

namespace {

struct Commit {
  ContainerPtr container;
  images::CommitOptions options;
  bool pause = true;
  std::stop_source stop;  // its client has gone
};

Result<void> check_state(const engine::Container& container) {
  const auto refuse = [&](const char* state) {
    return Error{Code::kConflict,
                 "You cannot commit container " + container.id + " which is " + state};
  };
  if (container.state.status == engine::Status::kDead) return refuse("Dead");
  if (container.removed || container.state.status == engine::Status::kRemoving)
    return refuse("being removed");
  return {};
}

/// Pauses the container for as long as its files are read: what is made of them then needs no
/// container. A pause that fails does not keep the commit from being made, as with Docker.
net::awaitable<bool> begin_pause(Api& api, std::shared_ptr<Commit> commit) {
  if (!commit->pause) co_return false;
  const auto begun = co_await api.containers.begin_commit_pause(commit->container);
  co_return begun.has_value() && *begun;
}

net::awaitable<Response> carry_out(Api& api, std::shared_ptr<Commit> commit) {
  const bool paused = co_await begin_pause(api, commit);
  auto frames = std::make_unique<ToolFrames>(
      start_reading_changes(api.containers.files(), commit->container, "layer"));
  const engine::ContainerPtr paused_one = paused ? commit->container : nullptr;
  const auto made = co_await commit_layer(api, std::move(frames), commit->options, paused_one,
                                          commit->stop.get_token());
  if (!made) co_return http::error_response(made.error());
  const images::LoadedImage& image = *made;
  const std::string name = image.repo_tags.empty() ? "" : image.repo_tags.front();
  if (!name.empty()) publish_image_event(api, "tag", image.id, name);
  api.containers.publish(
      *commit->container, "commit",
      {{"comment", commit->options.comment}, {"imageID", image.id}, {"imageRef", name}});
  co_return http::json(Status::kCreated, json{{"Id", image.id}});
}

/// "repository:tag", checked; "" for none.
Result<std::string> tag_of(const http::Query& query) {
  const std::string repository = query.get_or("repo", "");
  const std::string tag = query.get_or("tag", "");
  if (repository.empty()) return std::string();
  auto reference = images::Reference::parse(repository);
  if (!reference) return std::move(reference).error();
  if (!reference->digest().empty())
    return Error{Code::kInvalidArgument, "cannot import digest reference"};
  if (tag.empty()) return reference->with_default_tag().familiar();
  if (!images::is_valid_tag(tag)) return Error{Code::kInvalidArgument, "invalid tag format"};
  return reference->with_tag(tag).familiar();
}

Result<json> body_of(const Request& request) {
  if (request.body.empty()) return json();
  return request.json();
}

std::string command_text(const json& config) {
  std::string text;
  if (!config.at("Cmd").is_array()) return text;
  for (const json& word : config.at("Cmd"))
    text += (text.empty() ? "" : " ") + word.get<std::string>();
  return text;
}

Result<std::shared_ptr<Commit>> plan(const Api& api, const Request& request) {
  const http::Query& query = request.query;
  const auto body = body_of(request);
  if (!body) return body.error();
  auto tag = tag_of(query);
  if (!tag) return std::move(tag).error();
  auto container = api.containers.find(query.get_or("container", ""));
  if (!container) return std::move(container).error();
  RETURN_IF_ERROR(check_state(**container));
  const json& own = (*container)->settings.config;
  const auto config = commit_config(own, *body, query.get_all("changes"));
  if (!config) return config.error();
  auto commit = std::make_shared<Commit>();
  commit->container = *std::move(container);
  commit->pause = query.get_or("pause", "").empty() || query.get_bool("pause");
  const auto text = [](const json& value) {
    return value.dump(-1, ' ', false, json::error_handler_t::replace);
  };
  commit->options = {.parent = commit->container->image_id,
                     .repository_and_tag = *std::move(tag),
                     .config = text(*config),
                     .container = commit->container->id,
                     .container_config = text(own),
                     .created_by = command_text(own),
                     .author = query.get_or("author", ""),
                     .comment = query.get_or("comment", "")};
  return commit;
}

// POST /commit
// Ends with its client.
//   201 the new image's ID · 400 a bad name, change or configuration · 404 no such container, or
//   its image is gone · 409 it is being removed
net::awaitable<void> commit(Api& api, Exchange& exchange) {
  auto body = co_await exchange.read_body(http::Router::kMaxBody);
  if (!body) {
    Response refusal = http::body_error_response(body.error());
    co_await exchange.respond(std::move(refusal));
    co_return;
  }
  Request request = exchange.request();
  request.body = *std::move(body);
  const auto planned = plan(api, request);
  if (!planned) {
    Response refusal = http::error_response(planned.error());
    co_await exchange.respond(std::move(refusal));
    co_return;
  }
  exchange.end_with_input();
  // In order to its end, if a short one: a client that leaves must not leave a paused container.
  auto work = carry_out(api, *planned);
  Response response = co_await async::shielded(std::move(work), (*planned)->stop);
  co_await exchange.respond(std::move(response));
}

}  // namespace

void add_commit_routes(http::Router& router, Api& api) {
  router.add_stream("POST", "/commit", std::bind_front(commit, std::ref(api)));
}

}  // namespace docker
