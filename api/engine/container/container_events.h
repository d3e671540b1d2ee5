// ContainerEvents: tells listeners what happens to containers, their networks and their volumes.
//
// What Docker's events say of a container (labels, image, name) is put together here and nowhere
// else. Threads: the io_context thread. `events` outlives it. Errors: none; an event that cannot be
// kept is the log's affair (events.h).
// Spec: Docker Engine API 1.51, GET /events.
#pragma once

#include <map>
#include <string>

#include "api/engine/container/container.h"
#include "api/engine/state/events.h"

namespace engine {

class ContainerEvents {
 public:
  /// `host_id`: of identifiers.h's network_id().
  ContainerEvents(Events& events, std::string host_id)
      : events_(events), host_id_(std::move(host_id)) {}

  /// Something happened to `container` ("attach", "resize").
  void publish(const Container& container, std::string action,
               std::map<std::string, std::string> attributes = {});

  /// It has a place on the endpoint's network from now on, or no longer.
  void publish_connected(const Container& container, const Endpoint& endpoint);
  void publish_disconnected(const Container& container, const Endpoint& endpoint);

  /// Its machine has the container's volumes from now on, or its process no longer uses them.
  void publish_mounted(const Container& container);
  void publish_unmounted(const Container& container);

 private:
  void publish_network(const Container& container, const Endpoint& endpoint, std::string action);

  Events& events_;
  const std::string host_id_;
};

}  // namespace engine
