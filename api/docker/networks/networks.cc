// networks/...: create, list, inspect, connect, disconnect, remove, prune.
#include <functional>
#include <nlohmann/json.hpp>

#include "api/async/shield.h"
#include "api/docker/api.h"
#include "api/docker/filters.h"
#include "api/docker/json_rows.h"
#include "api/engine/state/identifiers.h"
#include "api/engine/state/json_fields.h"

namespace docker {

using base::Result;
using engine::ContainerPtr;
using engine::Network;
using engine::NetworkPtr;
using http::Request;
using http::Response;
using http::Status;
using nlohmann::json;

namespace {

// --- shapes -----------------------------------------------------------------------------------

bool is_ipv6(const json& config) {
  return config.value("Subnet", "").find(':') != std::string::npos;
}

/// As they were asked for, those of IPv4 first; what was chosen follows.
json subnets_json(const json& asked, const engine::NetworkSpec& spec) {
  json subnets = json::array();
  for (const json& config : asked)
    if (!is_ipv6(config)) subnets.push_back(config);
  const std::size_t four = subnets.size();
  for (const json& config : asked)
    if (is_ipv6(config)) subnets.push_back(config);
  const std::size_t six = subnets.size() - four;
  if (four == 0 && !spec.subnet.empty())
    subnets.push_back({{"Subnet", spec.subnet}, {"Gateway", spec.gateway}});
  if (six == 0 && spec.ipv6)
    subnets.push_back({{"Subnet", spec.ipv6->subnet}, {"Gateway", spec.ipv6->gateway}});
  return subnets;
}

json ipam_json(const Network& network) {
  const json& asked = network.request.document;
  const json ipam = asked.is_object() ? asked.value("IPAM", json::object()) : json::object();
  json config = subnets_json(ipam.value("Config", json()), network.spec);
  if (config.empty() && network.driver == "null") config = nullptr;
  return {{"Driver", "default"}, {"Options", ipam.value("Options", json())}, {"Config", config}};
}

std::string with_prefix(const std::string& address, unsigned prefix_length) {
  return address.empty() ? address : address + "/" + std::to_string(prefix_length);
}

json member_json(const engine::Container& container, const engine::Endpoint& endpoint) {
  return {
      {"Name", container.name},
      {"EndpointID", engine::network_id(container.id, endpoint.network + "/" + endpoint.address)},
      {"MacAddress", engine::to_string(endpoint.mac)},
      {"IPv4Address", with_prefix(endpoint.address, endpoint.prefix_length)},
      {"IPv6Address", with_prefix(endpoint.address6, endpoint.prefix_length6)}};
}

json members_json(const Api& api, const Network& network) {
  json members = json::object();
  for (const ContainerPtr& container : api.containers.list())
    for (const engine::Endpoint& endpoint : container->state.machine.endpoints)
      if (endpoint.network == network.name)
        members[container->id] = member_json(*container, endpoint);
  return members;
}

/// `members`: what is in Containers.
json network_json(const Network& network, json members) {
  const json& asked = network.request.document;
  return {{"Name", network.name},
          {"Id", network.id},
          {"Created", engine::format_time(network.created)},
          {"Scope", "local"},
          {"Driver", network.driver},
          {"EnableIPv4", true},
          {"EnableIPv6", network.spec.ipv6.has_value()},
          {"IPAM", ipam_json(network)},
          {"Internal", network.spec.internal},
          {"Attachable", asked.is_object() && asked.value("Attachable", false)},
          {"Ingress", false},
          {"ConfigFrom", {{"Network", ""}}},
          {"ConfigOnly", false},
          {"Containers", std::move(members)},
          {"Options", network.request.options},
          {"Labels", network.request.labels}};
}

bool is_shown(const Filters& filters, const Network& network, bool in_use) {
  const std::string type = network.predefined() ? "builtin" : "custom";
  const bool dangling = !network.predefined() && !in_use;
  return filters.labels_match(network.request.labels) &&
         filters.any("name", [&](const auto& v) { return name_matches(v, network.name); }) &&
         filters.any("id", [&](const auto& v) { return network.id.starts_with(v); }) &&
         filters.any("driver", [&](const auto& v) { return v == network.driver; }) &&
         filters.any("scope", [](const auto& v) { return v == "local"; }) &&
         filters.any("type", [&](const auto& v) { return v == type; }) &&
         filters.any("dangling",
                     [&](const auto& v) { return (v == "true" || v == "1") == dangling; });
}

// --- requests ---------------------------------------------------------------------------------

// GET /networks
net::awaitable<Response> list(Api& api, Request request) {
  const auto filters = Filters::parse(
      request.query.get("filters"), {"dangling", "driver", "id", "label", "name", "scope", "type"});
  if (!filters) co_return http::error_response(filters.error());
  JsonRows rows;
  for (const NetworkPtr& network : api.networks.list()) {
    const bool in_use = !api.use_cases.networks.members(*network).empty();
    if (!is_shown(*filters, *network, in_use)) {
      co_await rows.pass();
      continue;
    }
    json row = network_json(*network, json::object());
    co_await rows.add(std::move(row));
  }
  co_return rows_response(std::move(rows));
}

// GET /networks/{id}
net::awaitable<Response> inspect(Api& api, Request request) {
  const auto network = api.networks.find(request.path_arg("id"));
  if (!network) co_return http::error_response(network.error());
  co_return http::json(Status::kOk, network_json(**network, members_json(api, **network)));
}

// POST /networks/create
//   201 created · 400 bad request · 403 predefined, or its subnet overlaps · 404 no such driver ·
//   409 name in use · 501 not honoured here
net::awaitable<Response> create(Api& api, Request request) {
  const auto body = request.json();
  if (!body) co_return http::error_response(body.error());
  auto wanted = engine::parse_network_request(*body);
  if (!wanted) co_return http::error_response(wanted.error());
  const auto made = co_await async::shielded(api.networks.create(*std::move(wanted)));
  if (!made) co_return http::error_response(made.error());
  co_return http::json(Status::kCreated,
                       json{{"Id", (*made)->id}, {"Warning", (*made)->request.warning}});
}

// DELETE /networks/{id}
//   204 removed · 403 predefined, or in use · 404 no such network
net::awaitable<Response> remove(Api& api, Request request) {
  auto network = api.networks.find(request.path_arg("id"));
  if (!network) co_return http::error_response(network.error());
  const auto removed = co_await async::shielded(api.use_cases.networks.remove(*std::move(network)));
  co_return removed ? http::empty(Status::kNoContent) : http::error_response(removed.error());
}

// POST /networks/prune
net::awaitable<Response> prune(Api& api, Request request) {
  const auto filters = Filters::parse(request.query.get("filters"), {"until", "label", "label!"});
  if (!filters) co_return http::error_response(filters.error());
  engine::TimeNs until = INT64_MAX;
  for (const std::string& text : filters->get("until")) {
    const auto time = engine::parse_time(text);
    if (!time) co_return http::error_response(time.error());
    until = std::min(until, *time);
  }
  json deleted;
  for (const NetworkPtr& network : api.networks.list()) {
    if (network->predefined() || network->created > until ||
        !filters->labels_match(network->request.labels))
      continue;
    if (co_await async::shielded(api.use_cases.networks.remove(network)))
      deleted.push_back(network->name);
  }
  api.events.publish({.type = "network",
                      .action = "prune",
                      .actor = {},
                      .attributes = {{"reclaimed", "0"}},
                      .time = 0});
  co_return http::json(Status::kOk, json{{"NetworksDeleted", std::move(deleted)}});
}

/// What a connect and a disconnect request have in common.
struct Connection {
  ContainerPtr container;
  json body;
};

Result<Connection> parse_connection(const Api& api, const Request& request) {
  auto body = request.json();
  if (!body) return std::move(body).error();
  if (!body->is_object())
    return base::Error{base::Code::kInvalidArgument, "invalid JSON: the request must be an object"};
  const auto name = engine::text_field(*body, "Container");
  if (!name) return name.error();
  auto container = api.containers.find(*name);
  if (!container) return std::move(container).error();
  return Connection{*std::move(container), *std::move(body)};
}

// POST /networks/{id}/connect
net::awaitable<Response> connect(Api& api, Request request) {
  auto asked = parse_connection(api, request);
  if (!asked) co_return http::error_response(asked.error());
  json endpoint = asked->body.value("EndpointConfig", json());
  const auto done = co_await async::shielded(api.use_cases.networks.connect(
      std::move(asked->container), request.path_arg("id"), std::move(endpoint)));
  co_return done ? http::empty(Status::kOk) : http::error_response(done.error());
}

// POST /networks/{id}/disconnect
net::awaitable<Response> disconnect(Api& api, Request request) {
  auto asked = parse_connection(api, request);
  if (!asked) co_return http::error_response(asked.error());
  const auto done = co_await async::shielded(
      api.use_cases.networks.disconnect(std::move(asked->container), request.path_arg("id")));
  co_return done ? http::empty(Status::kOk) : http::error_response(done.error());
}

}  // namespace

void add_network_routes(http::Router& router, Api& api) {
  const auto add = [&](std::string_view method, std::string_view path, auto handler) {
    router.add(method, path, std::bind_front(handler, std::ref(api)));
  };
  for (const char* path : {"/networks", "/networks/"}) add("GET", path, list);
  add("POST", "/networks/create", create);
  add("POST", "/networks/prune", prune);
  add("GET", "/networks/{id}", inspect);
  add("DELETE", "/networks/{id}", remove);
  add("POST", "/networks/{id}/connect", connect);
  add("POST", "/networks/{id}/disconnect", disconnect);
}

}  // namespace docker
