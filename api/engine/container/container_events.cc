#include "api/engine/container/container_events.h"

namespace engine {

namespace {

std::map<std::string, std::string> mount_attributes(const Container& container) {
  return {{"container", container.id}, {"driver", "local"}};
}

}  // namespace

void ContainerEvents::publish(const Container& container, std::string action,
                              std::map<std::string, std::string> attributes) {
  attributes.insert(container.settings.labels.begin(), container.settings.labels.end());
  attributes["image"] = container.settings.image;
  attributes["name"] = container.name;
  events_.publish(Event{.type = "container",
                        .action = std::move(action),
                        .actor = container.id,
                        .attributes = std::move(attributes),
                        .time = 0});
}

void ContainerEvents::publish_mounted(const Container& container) {
  for (const MountPoint& mount : container.mounts) {
    if (mount.is_bind()) continue;
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
    if (!mount.is_bind())
      events_.publish(Event{.type = "volume",
                            .action = "unmount",
                            .actor = mount.volume,
                            .attributes = mount_attributes(container),
                            .time = 0});
}

}  // namespace engine
