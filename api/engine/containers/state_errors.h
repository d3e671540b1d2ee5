// The refusals of what a container's state does not allow, in Docker's words (daemon/errors.go of
// Docker 28, which writes "container" small in one of them). Each is a conflict: 409. Any thread.
#pragma once

#include "api/engine/containers/container.h"
#include "vmm/base/result.h"

namespace engine {

base::Error not_running(const Container& container);
base::Error already_paused(const Container& container);
base::Error paused_for_exec(const Container& container);
base::Error restarting(const Container& container);

}  // namespace engine
