#include "api/engine/container/state_errors.h"

#include <string>

namespace engine {
namespace {

base::Error conflict(std::string message) { return {base::Code::kConflict, std::move(message)}; }

}  // namespace

base::Error no_such_container(std::string_view name) {
  return {base::Code::kNotFound, "No such container: " + std::string(name.substr(0, 256))};
}

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

base::Error being_removed(const Container& container) {
  return conflict("removal of container " + container.id + " is in progress");
}

base::Error not_to_be_started() {
  return conflict("container is marked for removal and cannot be started");
}

base::Error daemon_is_ending() { return {base::Code::kUnavailable, "the daemon is shutting down"}; }

base::Error machine_does_not_end() {
  return {base::Code::kUnavailable, "the machine of the container's last run does not end"};
}

}  // namespace engine
