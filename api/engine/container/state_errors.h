// The refusals of what a container's state does not allow, in Docker's words (daemon/errors.go of
// Docker 28, which writes "container" small in one of them). Each is
// a conflict (409) unless it says otherwise. Any thread.
#pragma once

#include <string_view>

#include "api/engine/container/container.h"
#include "vmm/base/result.h"

namespace engine {

base::Error no_such_container(std::string_view name);
base::Error not_running(const Container& container);
base::Error already_paused(const Container& container);
base::Error paused_for_exec(const Container& container);
base::Error restarting(const Container& container);
/// A request came to a container that is about to be removed; a start is told so in other words.
base::Error being_removed(const Container& container);
base::Error not_to_be_started();
/// Not a conflict, but kUnavailable.
base::Error daemon_is_ending();
base::Error machine_does_not_end();

}  // namespace engine
