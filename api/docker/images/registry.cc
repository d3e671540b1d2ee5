// auth, distribution/{name}/json, images/search: questions to registries.
#include <algorithm>
#include <boost/asio/this_coro.hpp>
#include <charconv>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <stop_token>

#include "api/docker/api.h"
#include "api/docker/filters.h"
#include "api/docker/images/image_routes.h"
#include "vmm/base/scope_exit.h"

namespace docker {

using base::Code;
using base::Error;
using base::Result;
using http::Request;
using http::Response;
using http::Status;
using nlohmann::json;

namespace {

/// What a registry refuses is 401 for the client, and what it does not have is 404. A registry that
/// cannot be reached, or does not answer, is 500: no state of this host has to do with it.
Response registry_response(const Error& error) {
  switch (error.code) {
    case Code::kPermissionDenied:
      return http::error_response(Status::kUnauthorized, error.message);
    case Code::kUnavailable:
    case Code::kDeadlineExceeded:
      return http::error_response(Status::kInternalError, error.message);
    default:
      return http::error_response(error);
  }
}

/// Calls on a transfer thread; a client that goes away stops it.
template <typename T>
net::awaitable<Result<T>> ask(Api& api, std::function<Result<T>(std::stop_token)> question) {
  const auto stop = std::make_shared<std::stop_source>();
  // The call is waited for in any case, so it must be told before: by the cancellation itself.
  const auto state = co_await net::this_coro::cancellation_state;
  auto slot = state.slot();
  std::function<Result<T>()> call = [question = std::move(question), stop] {
    return question(stop->get_token());
  };
  if (slot.is_connected()) slot.assign([stop](net::cancellation_type) { stop->request_stop(); });
  const base::ScopeExit clear([&] { slot.clear(); });
  co_return co_await api.threads.transfers.run<Result<T>>(std::move(call));
}

// POST /auth
//   200 good, and perhaps a token · 400 no AuthConfig, or one without credentials · 401 refused ·
//   500 no answer
net::awaitable<Response> log_in(Api& api, Request request) {
  const auto body = request.json();
  if (!body) co_return http::error_response(body.error());
  auto credentials = registry::parse_credentials(request.body);
  if (!credentials) co_return http::error_response(credentials.error());
  if (credentials->are_none())  // which would be to ask a registry for nothing
    co_return http::error_response(Status::kBadRequest,
                                   "no credentials: neither a user nor a token is given");
  std::function<Result<std::string>(std::stop_token)> question =
      [&registries = api.registries, given = *std::move(credentials)](std::stop_token stop) {
        return registries.log_in(given, std::move(stop));
      };
  const auto token = co_await ask<std::string>(api, std::move(question));
  if (!token) co_return registry_response(token.error());
  const json answer{{"Status", "Login Succeeded"}, {"IdentityToken", *token}};
  co_return http::json(Status::kOk, answer);
}

json platform_json(const registry::Platform& platform) {
  json object{{"architecture", platform.architecture}, {"os", platform.os}};
  if (!platform.variant.empty()) object["variant"] = platform.variant;
  return object;
}

// GET /distribution/{name}/json
//   200 descriptor and platforms · 400 bad name · 401 refused · 404 unknown
net::awaitable<Response> inspect(Api& api, Request request) {
  auto reference = images::Reference::parse(request.path_arg("name"));
  if (!reference) co_return http::error_response(reference.error());
  auto credentials =
      registry::parse_auth_header(request.headers.get("X-Registry-Auth").value_or(""));
  if (!credentials) co_return http::error_response(credentials.error());
  std::function<Result<registry::Inspection>(std::stop_token)> question =
      [&registries = api.registries, wanted = *std::move(reference),
       given = *std::move(credentials)](std::stop_token stop) {
        return registries.inspect(wanted, given, std::move(stop));
      };
  const auto found = co_await ask<registry::Inspection>(api, std::move(question));
  if (!found) co_return registry_response(found.error());
  json platforms = json::array();
  for (const registry::Platform& platform : found->platforms)
    platforms.push_back(platform_json(platform));
  const registry::Descriptor& descriptor = found->descriptor;
  const json answer{{"Descriptor",
                     {{"mediaType", descriptor.media_type},
                      {"digest", descriptor.digest},
                      {"size", descriptor.size}}},
                    {"Platforms", std::move(platforms)}};
  co_return http::json(Status::kOk, answer);
}

struct SearchFilters {
  std::optional<bool> official;
  std::optional<bool> automated;
  std::int64_t stars = 0;

  bool match(const registry::FoundImage& image) const {
    return image.is_official == official.value_or(image.is_official) &&
           image.is_automated == automated.value_or(image.is_automated) && image.stars >= stars;
  }
};

Error invalid_filter(std::string_view name, const std::vector<std::string>& values) {
  std::string shown;
  for (const std::string& value : values) shown += (shown.empty() ? "" : " ") + value;
  return {Code::kInvalidArgument, "invalid filter '" + std::string(name) + "=[" + shown + "]'"};
}

Result<std::optional<bool>> boolean_filter(const Filters& filters, std::string_view name) {
  const auto& values = filters.get(name);
  if (values.empty()) return std::optional<bool>();
  const std::string& value = values.front();
  if (values.size() > 1 || (value != "true" && value != "false" && value != "1" && value != "0"))
    return invalid_filter(name, values);
  return std::optional<bool>(value == "true" || value == "1");
}

Result<SearchFilters> parse_search_filters(const Request& request) {
  const auto filters =
      Filters::parse(request.query.get("filters"), {"is-automated", "is-official", "stars"});
  if (!filters) return filters.error();
  SearchFilters parsed;
  auto official = boolean_filter(*filters, "is-official");
  if (!official) return std::move(official).error();
  auto automated = boolean_filter(*filters, "is-automated");
  if (!automated) return std::move(automated).error();
  parsed.official = *official;
  parsed.automated = *automated;
  for (const std::string& stars : filters->get("stars")) {
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(stars.data(), stars.data() + stars.size(), number);
    if (error != std::errc() || end != stars.data() + stars.size())
      return invalid_filter("stars", filters->get("stars"));
    parsed.stars = std::max(parsed.stars, number);
  }
  return parsed;
}

// GET /images/search
//   200 what the index found · 400 bad term, limit or filter · 401 refused · 500 no answer ·
//   501 the registry has no search
net::awaitable<Response> search(Api& api, Request request) {
  const std::string limit_text = request.query.get_or("limit", "0");
  int limit = 0;
  const auto [end, error] =
      std::from_chars(limit_text.data(), limit_text.data() + limit_text.size(), limit);
  if (error != std::errc() || end != limit_text.data() + limit_text.size())
    co_return http::error_response(Status::kBadRequest, "limit " + limit_text + " is no number");
  auto query = registry::parse_search(request.query.get_or("term", ""), limit);
  if (!query) co_return http::error_response(query.error());
  const auto filters = parse_search_filters(request);
  if (!filters) co_return http::error_response(filters.error());
  auto credentials =
      registry::parse_auth_header(request.headers.get("X-Registry-Auth").value_or(""));
  if (!credentials) co_return http::error_response(credentials.error());
  std::function<Result<std::vector<registry::FoundImage>>(std::stop_token)> question =
      [&registries = api.registries, wanted = *std::move(query), given = *std::move(credentials)](
          std::stop_token stop) { return registries.search(wanted, given, std::move(stop)); };
  const auto found = co_await ask<std::vector<registry::FoundImage>>(api, std::move(question));
  if (!found) co_return registry_response(found.error());
  json images = json::array();
  for (const registry::FoundImage& image : *found)
    if (filters->match(image))
      images.push_back({{"star_count", image.stars},
                        {"is_official", image.is_official},
                        {"name", image.name},
                        {"is_automated", image.is_automated},
                        {"description", image.description}});
  co_return http::json(Status::kOk, images);
}

}  // namespace

void add_registry_routes(http::Router& router, Api& api) {
  router.add("POST", "/auth", std::bind_front(log_in, std::ref(api)));
  router.add("GET", "/distribution/{name:*}/json", std::bind_front(inspect, std::ref(api)));
  router.add("GET", "/images/search", std::bind_front(search, std::ref(api)));
  add_push_route(router, api);
}

}  // namespace docker
