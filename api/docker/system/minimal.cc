// swarm, plugins, and what this host does not do: answered so that clients cope, never pretended.
#include <functional>
#include <nlohmann/json.hpp>

#include "api/docker/api.h"

namespace docker {

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

void add_minimal_routes(http::Router& router, Api&) {
  const auto unsupported = [&](std::string_view method, std::string_view path, std::string what) {
    router.add(method, path,
               std::bind_front(refuse, Status::kNotImplemented, what + " is not supported yet"));
  };
  // Docker updates volumes of a cluster only.
  router.add("PUT", "/volumes/{name}",
             std::bind_front(refuse, Status::kServiceUnavailable, std::string(kNoSwarm)));

  router.add("GET", "/plugins", std::bind_front(constant, json::array()));
  for (const char* method : {"GET", "POST", "DELETE"})
    unsupported(method, "/plugins/{name:*}", "a plugin");
  add_swarm(router);
}

}  // namespace docker
