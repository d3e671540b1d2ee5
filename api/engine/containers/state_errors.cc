#include "api/engine/containers/state_errors.h"

#include <string>

namespace engine {
namespace {

base::Error conflict(std::string message) { return {base::Code::kConflict, std::move(message)}; }

}  // namespace

base::Error not_running(const Container& container) {
  return conflict("container " + container.id + " is not running");
}

base::Error already_paused(const Container& container) {
  return conflict("Container " + container.id + " is already paused");
}

base::Error paused_for_exec(const Container& container) {
  return conflict("Container " + container.id + " is paused, unpause the container before exec");
}

base::Error restarting(const Container& container) {
  return conflict("Container " + container.id +
                  " is restarting, wait until the container is running");
}

}  // namespace engine
