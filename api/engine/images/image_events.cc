#include "api/engine/images/image_events.h"

namespace engine {

void publish_image_event(Events& events, const std::string& action, const std::string& id,
                         const std::string& name) {
  Event event;
  event.type = "image";
  event.action = action;
  event.actor = id;
  event.attributes = {{"name", name}};
  events.publish(std::move(event));
}

}  // namespace engine
