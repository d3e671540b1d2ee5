// commit: an image from a container.
//
// The files tool's frames become a tar stream here (tar_writer.h), on the io_context thread; the
// image store reads it on a pool thread through a bridge. Nothing is kept of a commit that fails.
#include <atomic>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/write.hpp>
#include <functional>
#include <nlohmann/json.hpp>

#include "api/async/shield.h"
#include "api/docker/api.h"
#include "api/docker/byte_bridge.h"
#include "api/docker/commit_config.h"
#include "api/docker/image_routes.h"
#include "api/docker/tar_writer.h"
#include "api/docker/tool_frames.h"

namespace docker {

using base::Code;
using base::Error;
using base::Result;
using engine::ContainerPtr;
using http::Request;
using http::Response;
using http::Status;
using net::local::stream_protocol;
using nlohmann::json;
using namespace net::experimental::awaitable_operators;  // NOLINT: operator&& only

namespace files = protocol::files;

namespace {

/// One commit; shared by the coroutine that reads the container and the one that makes the image.
struct Commit {
  ContainerPtr container;
  images::CommitOptions options;
  bool pause = true;
  std::atomic<bool> whole = false;
  base::UniqueFd layer;  // the blocking side
  Result<void> read;     // how reading the container ended
  Result<images::LoadedImage> made = Error{Code::kUnavailable, "the commit was interrupted"};
};

/// The container's changes as a tar stream, from the frame `first` on.
net::awaitable<Result<void>> send_layer(std::shared_ptr<Commit> commit, ToolFrames& frames,
                                        wire::RawFrame first, stream_protocol::socket& into) {
  auto writer = TarWriter::create(TarWriter::Form::kLayer);
  if (!writer) co_return std::move(writer).error();
  Result<wire::RawFrame> frame = std::move(first);
  for (;;) {
    if (!frame) co_return frame.error();
    if (static_cast<files::FrameType>(frame->type) == files::FrameType::kFailed)
      co_return tool_error(*frame);
    auto added = (*writer)->add(*frame);
    if (!added) co_return added;
    const std::vector<std::byte> bytes = (*writer)->take();
    const auto [error, sent] =
        co_await net::async_write(into, net::buffer(bytes.data(), bytes.size()), async::kTuple);
    // The store has failed, and says why.
    if (error || sent != bytes.size()) co_return Result<void>();
    if ((*writer)->complete()) break;
    frame = co_await frames.next();
  }
  commit->whole = true;
  co_return Result<void>();
}

/// Pauses the container for as long as its files are read: what is made of them then needs no
/// container. A pause that fails does not keep the commit from being made, as with Docker.
net::awaitable<bool> begin_pause(Api& api, std::shared_ptr<Commit> commit) {
  if (!commit->pause) co_return false;
  const auto begun = co_await api.containers.begin_commit_pause(commit->container);
  co_return begun.has_value() && *begun;
}

net::awaitable<void> read_container(Api& api, std::shared_ptr<Commit> commit,
                                    std::unique_ptr<ToolFrames> frames, wire::RawFrame first,
                                    stream_protocol::socket into, bool paused) {
  commit->read = co_await send_layer(commit, *frames, std::move(first), into);
  frames.reset();
  into.close();
  if (paused) co_await api.containers.end_commit_pause(commit->container);
}

net::awaitable<void> make_image(Api& api, std::shared_ptr<Commit> commit) {
  const std::function<Result<images::LoadedImage>()> call = [&store = api.images, commit] {
    WholeSource source(commit->layer.get(), commit->whole,
                       "the container's files could not be read to their end");
    auto made = store.commit(source, commit->options);
    commit->layer.reset();
    return made;
  };
  commit->made = co_await api.pool.run(call);
}

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

net::awaitable<Response> carry_out(Api& api, std::shared_ptr<Commit> commit) {
  auto bridge = ByteBridge::make(api.containers.parts().executor);
  if (!bridge) co_return http::error_response(bridge.error());
  commit->layer = std::move(bridge->blocking_side);
  const bool paused = co_await begin_pause(api, commit);
  auto frames =
      std::make_unique<ToolFrames>(start_reading(api.containers, commit->container, {"layer"}));
  // Only then is a thread of the pool kept waiting: starting a machine may need one.
  auto first = co_await frames->next();
  if (!first) {
    frames.reset();
    if (paused) co_await api.containers.end_commit_pause(commit->container);
    co_return http::error_response(first.error());
  }
  co_await (read_container(api, commit, std::move(frames), *std::move(first),
                           std::move(bridge->coroutine_side), paused) &&
            make_image(api, commit));
  if (!commit->read) co_return http::error_response(commit->read.error());
  if (!commit->made) co_return http::error_response(commit->made.error());
  const images::LoadedImage& image = *commit->made;
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
//   201 the new image's ID · 400 a bad name, change or configuration · 404 no such container, or
//   its image is gone · 409 it is being removed
net::awaitable<Response> commit(Api& api, Request request) {
  const auto planned = plan(api, request);
  if (!planned) co_return http::error_response(planned.error());
  // To the end: a client that leaves must not leave a paused container behind.
  co_return co_await async::shielded(carry_out(api, *planned));
}

}  // namespace

void add_commit_routes(http::Router& router, Api& api) {
  router.add("POST", "/commit", std::bind_front(commit, std::ref(api)));
}

}  // namespace docker
