// containers/...: create, list, inspect and every change of state.
#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>

#include "api/async/shield.h"
#include "api/docker/api.h"
#include "api/docker/containers/container_json.h"
#include "api/docker/filters.h"
#include "api/docker/json_rows.h"
#include "api/engine/resources/container_usage.h"
#include "api/engine/resources/process_table.h"

namespace docker {

using base::Code;
using base::Error;
using base::Result;
using engine::ContainerPtr;
using http::Request;
using http::Response;
using http::Status;
using nlohmann::json;

namespace {

Response respond_to(const Result<void>& result, Status success = Status::kNoContent) {
  return result ? http::empty(success) : http::error_response(result.error());
}

Result<void> check_platform(const Request& request) {
  const std::string platform = request.query.get_or("platform", "");
  const std::string own = "linux/" + std::string(images::host_architecture());
  if (platform.empty() || platform == own || platform == "linux") return {};
  return Error{Code::kNotFound, "no image for platform " + platform.substr(0, 64) +
                                    " can run here: this host runs " + own};
}

/// Before 1.44 a container was created on one network.
Result<void> check_single_network(http::ApiVersion version, const engine::Settings& settings) {
  if (version >= http::ApiVersion{1, 44} || settings.endpoints.size() <= 1) return {};
  std::string names;
  for (const engine::EndpointSettings& endpoint : settings.endpoints)
    names += (names.empty() ? "" : ", ") + endpoint.network.substr(0, 64);
  return Error{Code::kInvalidArgument,
               "Container cannot be created with multiple network endpoints: " + names};
}

// POST /containers/create
//   201 created · 400 bad request · 404 no such image · 409 name in use · 501 not honoured here
net::awaitable<Response> create(Api& api, Request request) {
  const auto body = request.json();
  if (!body) co_return http::error_response(body.error());
  const auto platform = check_platform(request);
  if (!platform) co_return http::error_response(platform.error());
  auto settings = engine::parse_settings(*body);
  if (!settings) co_return http::error_response(settings.error());
  if (const auto single = check_single_network(request.version, *settings); !single)
    co_return http::error_response(single.error());
  if (settings->image.empty())
    co_return http::error_response(Status::kBadRequest, "no image specified");
  engine::CreateRequest wanted{.name = request.query.get_or("name", ""),
                               .settings = *std::move(settings)};
  const auto created = co_await async::shielded(api.containers.create(std::move(wanted)));
  if (!created) co_return http::error_response(created.error());
  json warnings = json::array();
  if (const auto& warning = (*created)->settings.health.warning) warnings.push_back(*warning);
  const json answer{{"Id", (*created)->id}, {"Warnings", std::move(warnings)}};
  co_return http::json(Status::kCreated, answer);
}

/// Which containers GET /containers/json shows.
struct ListQuery {
  bool all = false;
  std::int64_t limit = 0;
  Filters filters;
  ContainerPtr before;
  ContainerPtr since;
};

Result<ListQuery> parse_list_query(const Api& api, const Request& request) {
  auto filters = Filters::parse(
      request.query.get("filters"),
      {"ancestor", "before", "expose", "exited", "health", "id", "isolation", "is-task", "label",
       "name", "network", "publish", "since", "status", "volume"});
  if (!filters) return std::move(filters).error();
  const auto limit = request.query.get_integer("limit", 0);
  if (!limit) return limit.error();
  ListQuery query{.all = request.query.get_bool("all") || filters->has("status"),
                  .limit = *limit,
                  .filters = *std::move(filters),
                  .before = nullptr,
                  .since = nullptr};
  for (const std::string& status : query.filters.get("status")) {
    constexpr std::array<std::string_view, 7> kKnown{"created",  "running", "paused", "restarting",
                                                     "removing", "exited",  "dead"};
    if (std::find(kKnown.begin(), kKnown.end(), status) == kKnown.end())
      return Error{Code::kInvalidArgument,
                   "invalid filter 'status=" + status.substr(0, 64) +
                       "': invalid value for state (" + status.substr(0, 64) +
                       "): must be one of created, running, paused, restarting, removing, exited, "
                       "dead"};
  }
  for (const std::string& health : query.filters.get("health")) {
    if (health != "none" && health != "starting" && health != "healthy" && health != "unhealthy")
      return Error{Code::kInvalidArgument,
                   "invalid filter 'health=" + health.substr(0, 64) +
                       "': invalid value for health (" + health.substr(0, 64) +
                       "): must be one of none, starting, healthy, unhealthy"};
  }
  for (const char* name : {"before", "since"}) {
    for (const std::string& value : query.filters.get(name)) {
      auto found = api.containers.find(value);
      if (!found) return std::move(found).error();
      (name[0] == 'b' ? query.before : query.since) = *std::move(found);
    }
  }
  return query;
}

bool ancestor_matches(const engine::Container& container, const std::string& wanted) {
  const std::string image = container.settings.image;
  return image == wanted || image == wanted + ":latest" || image + ":latest" == wanted ||
         container.origin.image_id == wanted ||
         container.origin.image_id.starts_with("sha256:" + wanted);
}

/// Whether it has a volume of this name, or one that is mounted there.
bool mounts_volume(const engine::Container& container, const std::string& wanted) {
  return std::any_of(container.mounts.begin(), container.mounts.end(), [&](const auto& mount) {
    return mount.volume == wanted || mount.host.path == wanted || mount.destination == wanted;
  });
}

/// By the network's name, or by its ID as far as the settings say it.
bool is_on_network(const engine::Container& container, const std::string& wanted) {
  const auto& endpoints = container.settings.endpoints;
  return std::any_of(endpoints.begin(), endpoints.end(),
                     [&](const auto& endpoint) { return endpoint.network == wanted; });
}

/// "8080", "8080/tcp": a port of the host that leads to the container.
bool publishes(const engine::Container& container, const std::string& wanted) {
  const auto& ports = container.state.machine.ports;
  return std::any_of(ports.begin(), ports.end(), [&](const engine::PublishedPort& port) {
    const std::string text = to_string(engine::ContainerPort{port.protocol, port.host_port});
    return text == wanted || text == wanted + "/tcp";
  });
}

bool is_shown(const ListQuery& query, const engine::Container& container) {
  const Filters& filters = query.filters;
  if (!query.all && query.limit <= 0 && !container.state.running() &&
      container.state.status != engine::Status::kRestarting)
    return false;
  if (query.before && container.origin.created >= query.before->origin.created) return false;
  if (query.since && container.origin.created <= query.since->origin.created) return false;
  const auto status = engine::to_string(container.state.status);
  const std::string exit_code = std::to_string(container.state.exit_code);
  const bool ended = container.state.status == engine::Status::kExited;
  return filters.labels_match(labels_of(container)) &&
         filters.any("id", [&](const auto& v) { return container.id.starts_with(v); }) &&
         filters.any("name", [&](const auto& v) { return name_matches(v, container.name); }) &&
         filters.any("status", [&](const auto& v) { return v == status; }) &&
         filters.any("exited", [&](const auto& v) { return ended && v == exit_code; }) &&
         filters.any("ancestor", [&](const auto& v) { return ancestor_matches(container, v); }) &&
         filters.any("network", [&](const auto& v) { return is_on_network(container, v); }) &&
         filters.any("health", [&](const auto& v) { return v == health_word(container.state); }) &&
         filters.any("isolation", [](const auto& v) { return v == "default"; }) &&
         filters.any("is-task", [](const auto& v) { return v == "false" || v == "0"; }) &&
         filters.any("expose",
                     [&](const auto& v) {
                       const auto& ports = container.settings.exposed_ports;
                       return ports.contains(v) || ports.contains(v + "/tcp");
                     }) &&
         filters.any("publish", [&](const auto& v) { return publishes(container, v); }) &&
         filters.any("volume", [&](const auto& v) { return mounts_volume(container, v); });
}

// GET /containers/json
net::awaitable<Response> list(Api& api, Request request) {
  const auto query = parse_list_query(api, request);
  if (!query) co_return http::error_response(query.error());
  JsonRows rows;
  const bool with_size = request.query.get_bool("size");
  const LinkNames links = link_names(api.containers.list());
  for (const ContainerPtr& container : api.containers.list()) {
    if (query->limit > 0 && static_cast<std::int64_t>(rows.size()) >= query->limit) break;
    if (container->removal.done || !is_shown(*query, *container)) {
      co_await rows.pass();
    } else {
      json row =
          summary_json(*container, {api.volumes, api.networks, api.containers}, links, with_size);
      co_await rows.add(std::move(row));
    }
  }
  co_return rows_response(std::move(rows));
}

// GET /containers/{id}/json
net::awaitable<Response> inspect(Api& api, Request request) {
  const auto container = api.containers.find(request.path_arg("id"));
  if (!container) co_return http::error_response(container.error());
  const auto value = std::make_shared<json>(inspect_json(
      **container, {api.volumes, api.networks, api.containers}, request.query.get_bool("size")));
  const std::vector<std::string> execs = api.execs.running_in(**container);
  if (!execs.empty()) (*value)["ExecIDs"] = execs;
  // Labels and the like are as long as clients like.
  const std::function<Response()> answer = [value] { return http::json(Status::kOk, *value); };
  co_return co_await api.threads.pool.run(answer);
}

// POST /containers/{id}/start
//   204 started · 304 already running · 400 cannot be started, or a body · 404 no such container
net::awaitable<Response> start(Api& api, Request request) {
  auto container = api.containers.find(request.path_arg("id"));
  if (!container) co_return http::error_response(container.error());
  // As dockerd counts: a body that says something has at least this much.
  constexpr std::size_t kSaysNothing = 7;
  if (request.body.size() > kSaysNothing)
    co_return http::error_response(Status::kBadRequest,
                                   "starting container with non-empty request body was deprecated "
                                   "since API v1.22 and removed in v1.24");
  if (!request.query.get_or("checkpoint", "").empty())
    co_return http::error_response(Status::kBadRequest, "checkpoints are not supported here");
  const auto result = co_await async::shielded(api.containers.start(*std::move(container)));
  if (!result) co_return http::error_response(result.error());
  co_return http::empty(*result == engine::StartResult::kStarted ? Status::kNoContent
                                                                 : Status::kNotModified);
}

struct StopOptions {
  std::optional<std::chrono::seconds> timeout;
  int signal = 0;
};

Result<StopOptions> stop_options(const Request& request) {
  StopOptions options;
  if (request.query.get("t")) {
    const auto seconds = request.query.get_integer("t", 10);
    if (!seconds) return seconds.error();
    constexpr std::int64_t kLongest = 10 * 365 * 86400;
    options.timeout = std::chrono::seconds(std::clamp<std::int64_t>(*seconds, -1, kLongest));
  }
  const std::string signal = request.query.get_or("signal", "");
  if (signal.empty()) return options;
  const auto number = engine::parse_signal(signal);
  if (!number) return number.error();
  options.signal = *number;
  return options;
}

// POST /containers/{id}/stop
//   204 stopped · 304 was not running · 404 no such container
net::awaitable<Response> stop(Api& api, Request request) {
  auto container = api.containers.find(request.path_arg("id"));
  if (!container) co_return http::error_response(container.error());
  const auto options = stop_options(request);
  if (!options) co_return http::error_response(options.error());
  const auto result = co_await async::shielded(
      api.containers.stop(*std::move(container), options->timeout, options->signal));
  if (!result) co_return http::error_response(result.error());
  co_return http::empty(*result == engine::StopResult::kStopped ? Status::kNoContent
                                                                : Status::kNotModified);
}

// POST /containers/{id}/restart
net::awaitable<Response> restart(Api& api, Request request) {
  auto container = api.containers.find(request.path_arg("id"));
  if (!container) co_return http::error_response(container.error());
  const auto options = stop_options(request);
  if (!options) co_return http::error_response(options.error());
  const auto result = co_await async::shielded(
      api.containers.restart(*std::move(container), options->timeout, options->signal));
  co_return respond_to(result);
}

// POST /containers/{id}/kill
//   204 sent · 400 bad signal · 404 no such container · 409 not running
net::awaitable<Response> kill(Api& api, Request request) {
  const std::string name(request.path_arg("id"));
  // Docker names the container as the client did, whatever is wrong.
  const auto refused = [&name](Error error) {
    error.message = "cannot kill container: " + name + ": " + error.message;
    return http::error_response(error);
  };
  const std::string text = request.query.get_or("signal", "");
  const auto signal = engine::parse_signal(text.empty() ? "KILL" : text);
  if (!signal) co_return refused(signal.error());
  auto container = api.containers.find(name);
  if (!container) co_return refused(container.error());
  const auto result = co_await async::shielded(api.containers.kill(*std::move(container), *signal));
  if (!result) co_return refused(result.error());
  co_return respond_to(result);
}

// POST /containers/{id}/resize
net::awaitable<Response> resize(Api& api, Request request) {
  const auto rows = request.query.get_integer("h", 0);
  const auto columns = request.query.get_integer("w", 0);
  if (!rows) co_return http::error_response(rows.error());
  if (!columns) co_return http::error_response(columns.error());
  if (*rows < 0 || *rows > 65535 || *columns < 0 || *columns > 65535)
    co_return http::error_response(Status::kBadRequest,
                                   "a terminal has at most 65535 rows and columns");
  auto container = api.containers.find(request.path_arg("id"));
  if (!container) co_return http::error_response(container.error());
  const auto result = co_await async::shielded(
      api.containers.resize(*std::move(container), static_cast<std::uint16_t>(*rows),
                            static_cast<std::uint16_t>(*columns)));
  co_return respond_to(result, Status::kOk);
}

// POST /containers/{id}/pause
//   204 paused · 404 no such container · 409 not running, or paused already
net::awaitable<Response> pause(Api& api, Request request) {
  auto container = api.containers.find(request.path_arg("id"));
  if (!container) co_return http::error_response(container.error());
  const auto result =
      co_await async::shielded(api.containers.pauses().pause(*std::move(container)));
  co_return respond_to(result);
}

// POST /containers/{id}/unpause
//   204 goes on · 404 no such container · 500 not paused
net::awaitable<Response> unpause(Api& api, Request request) {
  auto container = api.containers.find(request.path_arg("id"));
  if (!container) co_return http::error_response(container.error());
  const auto result =
      co_await async::shielded(api.containers.pauses().unpause(*std::move(container)));
  co_return respond_to(result);
}

// POST /containers/{id}/update
//   200 changed · 400 a value that cannot be · 404 no such container
net::awaitable<Response> update(Api& api, Request request) {
  auto body = request.json();
  if (!body) co_return http::error_response(body.error());
  auto container = api.containers.find(request.path_arg("id"));
  if (!container) co_return http::error_response(container.error());
  const auto result =
      co_await async::shielded(api.containers.update(*std::move(container), *std::move(body)));
  if (!result) co_return http::error_response(result.error());
  const json answer{{"Warnings", json::array()}};
  co_return http::json(Status::kOk, answer);
}

// GET /containers/{id}/top
//   200 the processes · 400 arguments of ps that are not understood · 404 · 409 not running
net::awaitable<Response> top(Api& api, Request request) {
  const auto found = api.containers.find(request.path_arg("id"));
  if (!found) co_return http::error_response(found.error());
  const ContainerPtr container = *found;
  const auto list = co_await engine::list_processes(container);
  if (!list) co_return http::error_response(list.error());
  // The guest's texts, as many as it likes.
  const std::function<Response()> make_answer =
      [list = *list, arguments = request.query.get_or("ps_args", "")]() -> Response {
    const auto table =
        engine::make_process_table(list, arguments, engine::now_ns() / 1'000'000'000);
    if (!table) return http::error_response(table.error());
    return http::json(Status::kOk, {{"Titles", table->titles}, {"Processes", table->rows}});
  };
  Response answer = co_await api.threads.pool.run(make_answer);
  if (answer.status == Status::kOk) api.containers.publish(*container, "top");
  co_return answer;
}

// POST /containers/{id}/rename
net::awaitable<Response> rename(Api& api, Request request) {
  auto container = api.containers.find(request.path_arg("id"));
  if (!container) co_return http::error_response(container.error());
  co_return respond_to(
      api.containers.rename(*std::move(container), request.query.get_or("name", "")));
}

// DELETE /containers/{id}
//   204 removed · 404 no such container · 409 running
net::awaitable<Response> remove(Api& api, Request request) {
  if (request.query.get_bool("link"))
    co_return http::error_response(Status::kNotImplemented, "a link goes with its container here");
  auto container = api.containers.find(request.path_arg("id"));
  if (!container) co_return http::error_response(container.error());
  const engine::RemoveOptions options{.force = request.query.get_bool("force"),
                                      .volumes = request.query.get_bool("v")};
  const auto result = co_await async::shielded(
      api.containers.remove(*std::move(container), options, request.path_arg("id")));
  co_return respond_to(result);
}

// POST /containers/prune
net::awaitable<Response> prune(Api& api, Request request) {
  const auto filters = Filters::parse(request.query.get("filters"), {"until", "label", "label!"});
  if (!filters) co_return http::error_response(filters.error());
  engine::TimeNs until = INT64_MAX;
  for (const std::string& text : filters->get("until")) {
    const auto time = engine::parse_time(text);
    if (!time) co_return http::error_response(time.error());
    until = std::min(until, *time);
  }
  const auto wanted = [filters = *filters, until](const engine::Container& container) {
    return container.origin.created < until && filters.labels_match(labels_of(container));
  };
  const auto result = co_await async::shielded(api.containers.prune(wanted));
  const json answer{{"ContainersDeleted", result.removed},
                    {"SpaceReclaimed", result.reclaimed_bytes}};
  co_return http::json(Status::kOk, answer);
}

/// Refuses what dockerd has in its experimental mode only, in dockerd's words.
net::awaitable<Response> refuse_experimental(Api&, Request) {
  co_return http::error_response(
      Status::kNotImplemented,
      "This experimental feature is disabled by default. Start the Docker daemon in experimental "
      "mode in order to enable it.");
}

}  // namespace

void add_container_routes(http::Router& router, Api& api) {
  using Body = http::Router::Body;
  const auto add = [&](std::string_view method, std::string_view path, auto handler) {
    router.add(method, path, std::bind_front(handler, std::ref(api)), Body::kDropped);
  };
  const auto add_with_body = [&](std::string_view method, std::string_view path, auto handler) {
    router.add(method, path, std::bind_front(handler, std::ref(api)));
  };
  add_with_body("POST", "/containers/create", create);
  add("GET", "/containers/json", list);
  add("POST", "/containers/prune", prune);
  add("GET", "/containers/{id}/json", inspect);
  add_with_body("POST", "/containers/{id}/start", start);
  add("POST", "/containers/{id}/stop", stop);
  add("POST", "/containers/{id}/restart", restart);
  add("POST", "/containers/{id}/kill", kill);
  add("POST", "/containers/{id}/resize", resize);
  add("POST", "/containers/{id}/rename", rename);
  add("POST", "/containers/{id}/pause", pause);
  add("POST", "/containers/{id}/unpause", unpause);
  add_with_body("POST", "/containers/{id}/update", update);
  add("GET", "/containers/{id}/top", top);
  add("DELETE", "/containers/{id}", remove);

  // dockerd has checkpoints only in its experimental mode.
  const auto experimental = std::bind_front(refuse_experimental, std::ref(api));
  router.add("GET", "/containers/{id}/checkpoints", experimental);
  router.add("POST", "/containers/{id}/checkpoints", experimental);
  router.add("DELETE", "/containers/{id}/checkpoints/{checkpoint}", experimental);
}

}  // namespace docker
