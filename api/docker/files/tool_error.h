// What went wrong in a guest's files tool, for the client.
#pragma once

#include "vmm/base/result.h"
#include "vmm/base/wire.h"

namespace docker {

/// What a Failed frame says; of any other frame, that it is no answer. Not for "no such file".
base::Error tool_error(const wire::RawFrame& frame);

}  // namespace docker
