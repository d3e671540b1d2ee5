#include "api/engine/container/container_events.h"

#include "api/engine/state/identifiers.h"

namespace engine {

namespace {

std::map<std::string, std::string> mount_attributes(const Container& container) {
  return {{"container", container.id}, {"driver", "local"}};
}

}  // namespace

void ContainerEvents::publish(const Container& container, std::string action,
                              std::map<std::string, std::string> attributes) {
  for (const auto& [key, value] : container.settings.config.at("Labels").items())
    if (value.is_string()) attributes.emplace(key, value.get<std::string>());
  attributes["image"] = container.settings.image();
  attributes["name"] = container.name;
  events_.publish(Event{.type = "container",
                        .action = std::move(action),
                        .actor = container.id,
                        .attributes = std::move(attributes),
                        .time = 0});
}

void ContainerEvents::publish_network(const Container& container, const Endpoint& endpoint,
                                      std::string action) {
  events_.publish(Event{
      .type = "network",
      .action = std::move(action),
      .actor = network_id(host_id_, endpoint.network),
      .attributes = {{"container", container.id}, {"name", endpoint.network}, {"type", "bridge"}},
      .time = 0});
}

void ContainerEvents::publish_connected(const Container& container, const Endpoint& endpoint) {
  publish_network(container, endpoint, "connect");
}

void ContainerEvents::publish_disconnected(const Container& container, const Endpoint& endpoint) {
  publish_network(container, endpoint, "disconnect");
}

void ContainerEvents::publish_mounted(const Container& container) {
  for (const MountPoint& mount : container.mounts) {
    auto attributes = mount_attributes(container);
    attributes["destination"] = mount.destination;
    attributes["propagation"] = "";
    attributes["read/write"] = mount.read_only ? "false" : "true";
    events_.publish(Event{.type = "volume",
                          .action = "mount",
                          .actor = mount.volume,
                          .attributes = std::move(attributes),
                          .time = 0});
  }
}

void ContainerEvents::publish_unmounted(const Container& container) {
  for (const MountPoint& mount : container.mounts)
    events_.publish(Event{.type = "volume",
                          .action = "unmount",
                          .actor = mount.volume,
                          .attributes = mount_attributes(container),
                          .time = 0});
}

}  // namespace engine
