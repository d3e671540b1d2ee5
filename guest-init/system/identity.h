// What makes a clone differ from all others of its template.
#pragma once

#include "guest-init/protocol/messages.h"
#include "vmm/base/result.h"

namespace guest_init {

/// Stirs the kernel's random number generator with the host's fresh bytes and sets the clock. The
/// caller keeps machine_id. kInvalidArgument if that is not 32 lower-case hex digits.
base::Result<void> take_identity(const protocol::SetIdentity& identity, int random_device);

}  // namespace guest_init
