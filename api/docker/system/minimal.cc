// networks, swarm, plugins, and what this host does not do yet: answered so that clients
// cope, never pretended.
#include <functional>
#include <nlohmann/json.hpp>

#include "api/docker/api.h"
#include "api/docker/filters.h"
#include "api/engine/state/identifiers.h"

namespace docker {

using engine::ContainerPtr;
using http::Request;
using http::Response;
using http::Status;
using nlohmann::json;

namespace {

constexpr std::string_view kNoSwarm =
    "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to "
    "connect this node to swarm and try again.";

net::awaitable<Response> refuse(Status status, std::string message, Request) {
  co_return http::error_response(status, message);
}

net::awaitable<Response> constant(json answer, Request) {
  co_return http::json(Status::kOk, answer);
}

// --- networks: the two that every host has --------------------------------------------------

json network_json(const Api& api, const std::string& name, bool verbose) {
  const bool bridge = name == "bridge";
  json pools = json::array();
  json containers = json::object();
  if (bridge) {
    const engine::NetworkInfo info = api.networks.default_network();
    pools.push_back({{"Subnet", info.subnet}, {"Gateway", info.gateway}});
  }
  for (const ContainerPtr& container : api.containers.list()) {
    const auto& endpoint = container->state.endpoint;
    if (!verbose || !endpoint || endpoint->network != name) continue;
    containers[container->id] = {
        {"Name", container->name},
        {"EndpointID", engine::network_id(api.host.id, container->id + "/" + endpoint->address)},
        {"MacAddress", engine::to_string(endpoint->mac)},
        {"IPv4Address", endpoint->address + "/" + std::to_string(endpoint->prefix_length)},
        {"IPv6Address", ""}};
  }
  return {{"Name", name},
          {"Id", engine::network_id(api.host.id, name)},
          {"Created", engine::format_time(0)},
          {"Scope", "local"},
          {"Driver", bridge ? "bridge" : "null"},
          {"EnableIPv4", true},
          {"EnableIPv6", false},
          {"IPAM", {{"Driver", "default"}, {"Options", nullptr}, {"Config", pools}}},
          {"Internal", false},
          {"Attachable", false},
          {"Ingress", false},
          {"ConfigFrom", {{"Network", ""}}},
          {"ConfigOnly", false},
          {"Containers", containers},
          {"Options", json::object()},
          {"Labels", json::object()}};
}

bool network_is(const Api& api, const std::string& name, const std::string& wanted) {
  return wanted == name ||
         (wanted.size() >= 2 && engine::network_id(api.host.id, name).starts_with(wanted));
}

// GET /networks
net::awaitable<Response> list_networks(Api& api, Request request) {
  const auto filters = Filters::parse(
      request.query.get("filters"), {"dangling", "driver", "id", "label", "name", "scope", "type"});
  if (!filters) co_return http::error_response(filters.error());
  json rows = json::array();
  for (const std::string name : {"bridge", "none"}) {
    const std::string id = engine::network_id(api.host.id, name);
    const std::string driver = name == "bridge" ? "bridge" : "null";
    const bool shown =
        filters->any("name", [&](const auto& v) { return name_matches(v, name); }) &&
        filters->any("id", [&](const auto& v) { return id.starts_with(v); }) &&
        filters->any("driver", [&](const auto& v) { return v == driver; }) &&
        filters->any("scope", [](const auto& v) { return v == "local"; }) &&
        filters->any("type", [](const auto& v) { return v == "builtin"; }) &&
        filters->any("dangling", [](const auto& v) { return v == "false" || v == "0"; }) &&
        filters->get("label").empty();
    if (shown) rows.push_back(network_json(api, name, false));
  }
  co_return http::json(Status::kOk, rows);
}

// GET /networks/{id}
net::awaitable<Response> inspect_network(Api& api, Request request) {
  const std::string wanted = request.path_arg("id");
  for (const std::string name : {"bridge", "none"})
    if (network_is(api, name, wanted))
      co_return http::json(Status::kOk, network_json(api, name, true));
  co_return http::error_response(Status::kNotFound,
                                 "network " + wanted.substr(0, 128) + " not found");
}

// DELETE /networks/{id}
net::awaitable<Response> remove_network(Api& api, Request request) {
  const std::string wanted = request.path_arg("id");
  for (const std::string name : {"bridge", "none"})
    if (network_is(api, name, wanted))
      co_return http::error_response(Status::kForbidden,
                                     name + " is a pre-defined network and cannot be removed");
  co_return http::error_response(Status::kNotFound,
                                 "network " + wanted.substr(0, 128) + " not found");
}

// POST /networks/create
net::awaitable<Response> create_network(Request request) {
  const auto body = request.json();
  if (!body) co_return http::error_response(body.error());
  if (body->is_object() && body->value("Driver", json()) == "overlay")
    co_return http::error_response(Status::kForbidden, kNoSwarm);
  co_return http::error_response(Status::kNotImplemented,
                                 "networks other than bridge and none are not supported yet");
}

void add_swarm(http::Router& router) {
  const auto refused = std::bind_front(refuse, Status::kServiceUnavailable, std::string(kNoSwarm));
  for (const char* group : {"nodes", "services", "tasks", "secrets", "configs"}) {
    const std::string path = std::string("/") + group;
    for (const char* method : {"GET", "POST", "DELETE"}) {
      router.add(method, path, refused);
      router.add(method, path + "/{id:*}", refused);
    }
  }
  router.add("POST", "/swarm/leave",
             std::bind_front(refuse, Status::kServiceUnavailable,
                             std::string("This node is not part of a swarm")));
  router.add(
      "POST", "/swarm/init",
      std::bind_front(refuse, Status::kNotImplemented, std::string("swarm mode is not supported")));
  router.add(
      "POST", "/swarm/join",
      std::bind_front(refuse, Status::kNotImplemented, std::string("swarm mode is not supported")));
  for (const char* method : {"GET", "POST"}) {
    router.add(method, "/swarm", refused);
    router.add(method, "/swarm/{what}", refused);
  }
}

}  // namespace

void add_minimal_routes(http::Router& router, Api& api) {
  const auto unsupported = [&](std::string_view method, std::string_view path, std::string what) {
    router.add(method, path,
               std::bind_front(refuse, Status::kNotImplemented, what + " is not supported yet"));
  };
  for (const char* path : {"/networks", "/networks/"})
    router.add("GET", path, std::bind_front(list_networks, std::ref(api)));
  router.add("POST", "/networks/create", create_network);
  router.add("POST", "/networks/prune",
             std::bind_front(constant, json{{"NetworksDeleted", nullptr}}));
  router.add("GET", "/networks/{id}", std::bind_front(inspect_network, std::ref(api)));
  router.add("DELETE", "/networks/{id}", std::bind_front(remove_network, std::ref(api)));
  unsupported("POST", "/networks/{id}/connect", "connecting a container to another network");
  unsupported("POST", "/networks/{id}/disconnect", "disconnecting a container from its network");

  // Of a cluster's volumes only.
  router.add("PUT", "/volumes/{name}",
             std::bind_front(refuse, Status::kServiceUnavailable, std::string(kNoSwarm)));

  router.add("GET", "/plugins", std::bind_front(constant, json::array()));
  for (const char* method : {"GET", "POST", "DELETE"})
    unsupported(method, "/plugins/{name:*}", "a plugin");
  add_swarm(router);
}

}  // namespace docker
