// images/...: list, inspect, history, tag, remove, prune. Loads and saves: image_streams.cc.
#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>

#include "api/async/shield.h"
#include "api/docker/api.h"
#include "api/docker/filters.h"
#include "api/docker/images/image_json.h"
#include "api/docker/images/image_routes.h"
#include "api/docker/json_rows.h"
#include "api/engine/images/image_events.h"
#include "api/engine/state/timestamp.h"

namespace docker {

using base::Code;
using base::Error;
using base::Result;
using http::Request;
using http::Response;
using http::Status;
using nlohmann::json;

namespace {

constexpr std::int64_t kNanosecondsPerSecond = 1'000'000'000;

net::awaitable<Result<images::Image>> resolve(Api& api, std::string name) {
  std::function<Result<images::Image>()> call = [&store = api.images, name] {
    return store.resolve(name);
  };
  co_return co_await api.threads.pool.run<Result<images::Image>>(std::move(call));
}

Result<bool> boolean_filter(const Filters& filters, const char* name, bool otherwise) {
  const std::vector<std::string>& values = filters.get(name);
  if (values.empty()) return otherwise;
  const auto is_true = [](const std::string& v) { return v == "1" || v == "true"; };
  const auto is_false = [](const std::string& v) { return v == "0" || v == "false"; };
  if (values.size() == 1 && is_true(values[0])) return true;
  if (values.size() == 1 && is_false(values[0])) return false;
  return Error{Code::kInvalidArgument,
               "invalid filter '" + std::string(name) + "=[" + values[0].substr(0, 64) + "]'"};
}

/// The time that a filter means, in seconds: "24h" or "1h30m" is so long ago, all else a time as
/// the API writes it.
Result<std::int64_t> until_filter(const std::string& text) {
  std::int64_t ago = 0;
  std::int64_t number = -1;
  for (const char c : text) {
    if (c >= '0' && c <= '9' && number < 1'000'000'000) {
      number = std::max<std::int64_t>(number, 0) * 10 + (c - '0');
      continue;
    }
    const std::int64_t unit = c == 'h' ? 3600 : c == 'm' ? 60 : c == 's' ? 1 : 0;
    if (unit == 0 || number < 0) {
      number = 0;  // no duration
      break;
    }
    ago += number * unit;
    number = -1;
  }
  if (!text.empty() && number < 0) return engine::now_ns() / kNanosecondsPerSecond - ago;
  const auto time = engine::parse_time(text);
  if (!time) return time.error();
  return *time / kNanosecondsPerSecond;
}

Result<void> common_filters(const Filters& filters, images::ListFilter& filter) {
  filter.labels = filters.get("label");
  filter.without_labels = filters.get("label!");
  for (const std::string& text : filters.get("until")) {
    const auto until = until_filter(text);
    if (!until) return until.error();
    filter.until_seconds = *until;
  }
  return {};
}

Result<images::ListFilter> parse_list_query(const Request& request) {
  const auto filters =
      Filters::parse(request.query.get("filters"),
                     {"before", "dangling", "label", "label!", "reference", "since", "until"});
  if (!filters) return filters.error();
  images::ListFilter filter;
  filter.all = request.query.get_bool("all");
  RETURN_IF_ERROR(common_filters(*filters, filter));
  if (filters->has("dangling")) {
    const auto dangling = boolean_filter(*filters, "dangling", false);
    if (!dangling) return dangling.error();
    filter.dangling = *dangling;
  }
  filter.references = filters->get("reference");
  if (const auto name = request.query.get("filter"); name && !name->empty())  // before API 1.41
    filter.references.push_back(*name);
  for (const std::string& name : filters->get("before")) filter.before = name;
  for (const std::string& name : filters->get("since")) filter.since = name;
  return filter;
}

// GET /images/json
net::awaitable<Response> list(Api& api, Request request) {
  auto filter = parse_list_query(request);
  if (!filter) co_return http::error_response(filter.error());
  std::function<Result<std::vector<images::ImageSummary>>()> call =
      [&store = api.images, wanted = *std::move(filter)] { return store.list(wanted); };
  const auto found =
      co_await api.threads.pool.run<Result<std::vector<images::ImageSummary>>>(std::move(call));
  if (!found) co_return http::error_response(found.error());
  JsonRows rows;
  for (const images::ImageSummary& image : *found) {
    json row = image_summary_json(image, request.version);
    co_await rows.add(std::move(row));
  }
  co_return rows_response(std::move(rows));
}

// GET /images/{name}/json
net::awaitable<Response> inspect(Api& api, Request request) {
  const auto image = co_await resolve(api, request.path_arg("name"));
  if (!image) co_return http::error_response(image.error());
  co_return http::json(Status::kOk, image_inspect_json(*image, request.version));
}

// GET /images/{name}/history
net::awaitable<Response> history(Api& api, Request request) {
  const auto image = co_await resolve(api, request.path_arg("name"));
  if (!image) co_return http::error_response(image.error());
  co_return http::json(Status::kOk, image_history_json(*image));
}

net::awaitable<Response> tag_and_tell(Api& api, std::string source, std::string target) {
  std::function<Result<std::string>()> call = [&store = api.images, source, target] {
    return store.tag(source, target);
  };
  const auto id = co_await api.threads.pool.run<Result<std::string>>(std::move(call));
  if (!id) co_return http::error_response(id.error());
  engine::publish_image_event(api.events, "tag", *id, target);
  co_return http::empty(Status::kCreated);
}

// POST /images/{name}/tag
//   201 tagged · 400 bad name · 404 no such image
net::awaitable<Response> tag(Api& api, Request request) {
  std::string target = request.query.get_or("repo", "");
  const std::string tag = request.query.get_or("tag", "");
  if (!tag.empty()) target += ":" + tag;
  co_return co_await async::shielded(
      tag_and_tell(api, request.path_arg("name"), std::move(target)));
}

void publish_removed(Api& api, const std::vector<images::RemovedItem>& removed) {
  for (const images::RemovedItem& item : removed) {
    if (item.image_id.empty()) continue;
    const bool untagged = item.kind == images::RemovedItem::Kind::kUntagged;
    engine::publish_image_event(api.events, untagged ? "untag" : "delete", item.image_id,
                                item.image_id);
  }
}

net::awaitable<Response> remove_and_tell(Api& api, std::string name,
                                         images::RemoveOptions options) {
  std::function<Result<std::vector<images::RemovedItem>>()> call =
      [&store = api.images, name, options] { return store.remove(name, options); };
  const auto removed =
      co_await api.threads.pool.run<Result<std::vector<images::RemovedItem>>>(std::move(call));
  if (!removed) co_return http::error_response(removed.error());
  publish_removed(api, *removed);
  co_return http::json(Status::kOk, removed_json(*removed));
}

// DELETE /images/{name}
//   200 what was untagged and deleted · 404 no such image · 409 in use
net::awaitable<Response> remove(Api& api, Request request) {
  images::RemoveOptions options{.force = request.query.get_bool("force"),
                                .prune_parents = !request.query.get_bool("noprune"),
                                .running = engine::running_ids(api.containers.list())};
  co_return co_await async::shielded(
      remove_and_tell(api, request.path_arg("name"), std::move(options)));
}

net::awaitable<Response> prune_and_tell(Api& api, images::PruneOptions options) {
  std::function<Result<images::PruneReport>()> call = [&store = api.images, options] {
    return store.prune(options);
  };
  const auto report = co_await api.threads.pool.run<Result<images::PruneReport>>(std::move(call));
  if (!report) co_return http::error_response(report.error());
  publish_removed(api, report->removed);
  const json answer{
      {"ImagesDeleted", report->removed.empty() ? json() : removed_json(report->removed)},
      {"SpaceReclaimed", report->reclaimed_bytes}};
  engine::Event event;
  event.type = "image";
  event.action = "prune";
  event.attributes = {{"reclaimed", std::to_string(report->reclaimed_bytes)}};
  api.events.publish(std::move(event));
  co_return http::json(Status::kOk, answer);
}

// POST /images/prune
net::awaitable<Response> prune(Api& api, Request request) {
  const auto filters =
      Filters::parse(request.query.get("filters"), {"dangling", "label", "label!", "until"});
  if (!filters) co_return http::error_response(filters.error());
  const auto dangling = boolean_filter(*filters, "dangling", true);
  if (!dangling) co_return http::error_response(dangling.error());
  images::PruneOptions options;
  options.dangling_only = *dangling;
  options.running = engine::running_ids(api.containers.list());
  if (const auto parsed = common_filters(*filters, options.filter); !parsed)
    co_return http::error_response(parsed.error());
  co_return co_await async::shielded(prune_and_tell(api, std::move(options)));
}

}  // namespace

void add_image_routes(http::Router& router, Api& api) {
  router.add("GET", "/images/json", std::bind_front(list, std::ref(api)));
  router.add("POST", "/images/prune", std::bind_front(prune, std::ref(api)));
  add_image_stream_routes(router, api);
  router.add("GET", "/images/{name:*}/json", std::bind_front(inspect, std::ref(api)));
  router.add("GET", "/images/{name:*}/history", std::bind_front(history, std::ref(api)));
  router.add("POST", "/images/{name:*}/tag", std::bind_front(tag, std::ref(api)));
  router.add("DELETE", "/images/{name:*}", std::bind_front(remove, std::ref(api)));
}

}  // namespace docker
