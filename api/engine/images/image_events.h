// publish_image_event(): tells listeners that something happened to an image.
#pragma once

#include <string>

#include "api/engine/state/events.h"

namespace engine {

/// `action`: "tag", "pull", "delete"... `name`: what the image was called in the request, or its
/// ID.
void publish_image_event(Events& events, const std::string& action, const std::string& id,
                         const std::string& name);

}  // namespace engine
