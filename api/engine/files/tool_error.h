// What went wrong in a guest's files tool, for the client.
#pragma once

#include "vmm/base/result.h"
#include "vmm/base/wire.h"

namespace engine {

/// The Error that a Failed frame stands for; for any other frame, that it is no answer. Callers say
/// "no such file" in Docker's words before they come here.
base::Error tool_error(const wire::RawFrame& frame);

}  // namespace engine
