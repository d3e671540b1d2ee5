// commit: an image from a container.
#include <functional>
#include <nlohmann/json.hpp>
#include <stop_token>

#include "api/async/shield.h"
#include "api/docker/api.h"

namespace docker {

using base::Code;
using base::Error;
using base::Result;
using http::Exchange;
using http::Request;
using http::Response;
using http::Status;
using nlohmann::json;

namespace {

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

Result<engine::CommitPlan> plan(const Api& api, const Request& request) {
  const http::Query& query = request.query;
  auto body = body_of(request);
  if (!body) return std::move(body).error();
  auto tag = tag_of(query);
  if (!tag) return std::move(tag).error();
  auto container = api.containers.find(query.get_or("container", ""));
  if (!container) return std::move(container).error();
  engine::CommitRequest wanted{
      .container = *std::move(container),
      .name = *std::move(tag),
      .config = *std::move(body),
      .changes = query.get_all("changes"),
      .author = query.get_or("author", ""),
      .comment = query.get_or("comment", ""),
      .pause = query.get_or("pause", "").empty() || query.get_bool("pause")};
  return engine::plan_commit(std::move(wanted));
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
  // A client that leaves must not leave a paused container behind: the commit comes to its end,
  // soon and in order.
  const std::stop_source stop;
  auto work = api.use_cases.commits.commit(*planned, stop.get_token());
  const auto made = co_await async::shielded(std::move(work), stop);
  Response response = made ? http::json(Status::kCreated, json{{"Id", made->id}})
                           : http::error_response(made.error());
  co_await exchange.respond(std::move(response));
}

}  // namespace

void add_commit_routes(http::Router& router, Api& api) {
  router.add_stream("POST", "/commit", std::bind_front(commit, std::ref(api)));
}

}  // namespace docker
