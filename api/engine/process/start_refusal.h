// What it means to Docker's client that a guest refused a process. Pure functions, any thread.
// Trust: `failure` was made by the guest; what is quoted of it is cut.
#pragma once

#include <string>

#include "guest-init/protocol/messages.h"

namespace engine {

struct StartRefusal {
  std::string message;
  int exit_code = 128;  // of a container or an exec that was to run it
};
StartRefusal explain_refusal(const protocol::Failure& failure, const std::string& argv0);

}  // namespace engine
