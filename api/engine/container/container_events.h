// ContainerEvents: tells listeners what happens to containers and their volumes.
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
  explicit ContainerEvents(Events& events) : events_(events) {}

  /// Something happened to `container` ("attach", "resize").
  void publish(const Container& container, std::string action,
               std::map<std::string, std::string> attributes = {});

  /// Its machine has the container's volumes from now on, or its process no longer uses them.
  void publish_mounted(const Container& container);
  void publish_unmounted(const Container& container);

 private:
  Events& events_;
};

}  // namespace engine
