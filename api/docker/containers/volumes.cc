// volumes/...: create, list, inspect, remove, prune.
#include <functional>
#include <nlohmann/json.hpp>

#include "api/async/shield.h"
#include "api/docker/api.h"
#include "api/docker/containers/volume_json.h"
#include "api/docker/filters.h"
#include "api/docker/json_rows.h"
#include "api/engine/settings/mounts/mount_points.h"
#include "api/engine/state/json_fields.h"

namespace docker {

using base::Code;
using base::Error;
using base::Result;
using engine::VolumePtr;
using http::Request;
using http::Response;
using http::Status;
using nlohmann::json;

namespace {

json text_map(const std::map<std::string, std::string>& values) {
  return values.empty() ? json() : json(values);
}

Result<engine::VolumeWish> parse_wish(const json& body) {
  if (!body.is_object())
    return Error{Code::kInvalidArgument, "invalid JSON: the request must be an object"};
  auto name = engine::text_field(body, "Name");
  auto driver = engine::text_field(body, "Driver");
  auto labels = engine::texts_field(body, "Labels");
  auto options = engine::texts_field(body, "DriverOpts");
  if (!name) return std::move(name).error();
  if (!driver) return std::move(driver).error();
  if (!labels) return std::move(labels).error();
  if (!options) return std::move(options).error();
  for (const auto& [field, value] : body.items()) {
    const bool known =
        field == "Name" || field == "Driver" || field == "Labels" || field == "DriverOpts";
    if (!known && !value.is_null())
      return Error{Code::kNotSupported, "the field " + field.substr(0, 64) + " is not supported"};
  }
  return engine::VolumeWish{.name = *std::move(name),
                            .driver = *std::move(driver),
                            .labels = *std::move(labels),
                            .options = *std::move(options)};
}

// POST /volumes/create
//   201 there now, made or not · 400 bad request · 404 no such driver
net::awaitable<Response> create(Api& api, Request request) {
  const auto body = request.json();
  if (!body) co_return http::error_response(body.error());
  auto wish = parse_wish(*body);
  if (!wish) co_return http::error_response(wish.error());
  engine::Volumes& volumes = api.volumes;
  const auto made = co_await async::shielded(volumes.create(*std::move(wish)));
  if (!made) co_return http::error_response(made.error());
  co_return http::json(Status::kCreated, volume_json(volumes, **made));
}

bool is_true(const std::string& text) { return text == "true" || text == "1" || text == "t"; }

// GET /volumes
net::awaitable<Response> list(Api& api, Request request) {
  const auto filters = Filters::parse(request.query.get("filters"),
                                      {"dangling", "driver", "label", "label!", "name"});
  if (!filters) co_return http::error_response(filters.error());
  JsonRows rows;
  engine::Volumes& volumes = api.volumes;
  for (const VolumePtr& volume : volumes.list()) {
    const bool dangling = volume->users.empty();
    const bool shown =
        filters->any("dangling", [&](const auto& v) { return is_true(v) == dangling; }) &&
        filters->any("driver", [](const auto& v) { return v == "local"; }) &&
        filters->any("name", [&](const auto& v) { return name_matches(v, volume->name); }) &&
        filters->labels_match(volume->labels);
    if (shown) {
      json row = volume_json(volumes, *volume);
      co_await rows.add(std::move(row));
    } else {
      co_await rows.pass();
    }
  }
  co_return rows_response(std::move(rows), R"({"Volumes":)", R"(,"Warnings":null})");
}

// GET /volumes/{name}
net::awaitable<Response> inspect(Api& api, Request request) {
  const auto volume = api.volumes.find(request.path_arg("name"));
  if (!volume) co_return http::error_response(volume.error());
  co_return http::json(Status::kOk, volume_json(api.volumes, **volume));
}

// DELETE /volumes/{name}
//   204 removed · 404 no such volume · 409 a container mentions it
net::awaitable<Response> remove(Api& api, Request request) {
  const auto volume = api.volumes.find(request.path_arg("name"));
  if (!volume && request.query.get_bool("force")) co_return http::empty(Status::kNoContent);
  if (!volume) co_return http::error_response(volume.error());
  const auto removed = co_await async::shielded(api.volumes.remove(*volume));
  if (!removed) co_return http::error_response(removed.error());
  co_return http::empty(Status::kNoContent);
}

net::awaitable<json> prune_volumes(Api& api, Filters filters, bool named_too) {
  engine::Volumes& volumes = api.volumes;
  json removed_names = json::array();
  std::uint64_t reclaimed = 0;
  for (const VolumePtr& volume : volumes.list()) {
    if (!volume->users.empty() || (!named_too && !volume->anonymous()) || !volume->damage.empty() ||
        !filters.labels_match(volume->labels))
      continue;
    const auto bytes = co_await volumes.bytes_of(volume);
    const auto removed = co_await volumes.remove(volume);
    if (!removed) continue;  // a container has come to mention it
    removed_names.push_back(volume->name);
    reclaimed += bytes.value_or(0);
  }
  api.events.publish(engine::Event{.type = "volume",
                                   .action = "prune",
                                   .actor = "",
                                   .attributes = {{"reclaimed", std::to_string(reclaimed)}},
                                   .time = 0});
  co_return json{{"VolumesDeleted", removed_names.empty() ? json() : std::move(removed_names)},
                 {"SpaceReclaimed", reclaimed}};
}

// POST /volumes/prune
net::awaitable<Response> prune(Api& api, Request request) {
  auto filters = Filters::parse(request.query.get("filters"), {"all", "label", "label!"});
  if (!filters) co_return http::error_response(filters.error());
  // Before 1.42 all volumes that nobody mentions are pruned; since then, unless asked, only those
  // without a name.
  const bool old = request.version < http::ApiVersion{1, 42};
  const bool named_too = old || (filters->has("all") && filters->any("all", is_true));
  const json answer = co_await async::shielded(prune_volumes(api, *std::move(filters), named_too));
  co_return http::json(Status::kOk, answer);
}

}  // namespace

json volume_json(const engine::Volumes& volumes, const engine::Volume& volume) {
  constexpr engine::TimeNs kSecond = 1'000'000'000;
  json value{{"CreatedAt", engine::format_time(volume.created / kSecond * kSecond)},
             {"Driver", "local"},
             {"Labels", text_map(volume.labels)},
             {"Mountpoint", volumes.files_of(volume).string()},
             {"Name", volume.name},
             {"Options", text_map(volume.options)},
             {"Scope", "local"}};
  if (!volume.damage.empty()) value["Status"] = {{"damage", volume.damage}};
  return value;
}

void add_volume_routes(http::Router& router, Api& api) {
  const auto add = [&](std::string_view method, std::string_view path, auto handler) {
    router.add(method, path, std::bind_front(handler, std::ref(api)));
  };
  add("GET", "/volumes", list);
  add("POST", "/volumes/create", create);
  add("POST", "/volumes/prune", prune);
  add("GET", "/volumes/{name}", inspect);
  add("DELETE", "/volumes/{name}", remove);
}

}  // namespace docker
