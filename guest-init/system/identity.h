// take_identity(): makes a clone differ from all others of its template.
#pragma once

#include "guest-init/protocol/messages.h"
#include "vmm/base/result.h"

namespace guest_init {

/// Stirs the kernel's random number generator with the host's fresh bytes and sets the clock.
/// `random_device`: an open /dev/urandom. The machine_id is only checked, the caller keeps it:
/// kInvalidArgument if it is not 32 lower-case hex digits, or the time is before 1970.
base::Result<void> take_identity(const protocol::SetIdentity& identity, int random_device);

}  // namespace guest_init
