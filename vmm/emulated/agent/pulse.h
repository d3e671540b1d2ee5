// start_pulse(): a regular interrupt, which bounds how long a lost one can be missed.
#pragma once

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace emulated {

/// Makes a comparator of the machine's HPET interrupt it five times a second, as long as the
/// returned descriptor is open. Nobody needs to read from it. Error: the kernel's, for /dev/hpet.
///
/// QEMU (7.2 to 10.0 at least) now and then loses an interrupt: its helper_vmrun sets a bit of
/// `interrupt_request` without the lock that is held where other bits are set. A lost interrupt
/// waits in the local APIC until another one makes QEMU look there again. If it was the one-shot
/// timer's, another one may never come: the guest runs on, and all that waits for time waits. The
/// pulse bounds that wait. Keeping QEMU on one processor of its host (host/processor.h) makes the
/// loss itself rare.
base::Result<base::UniqueFd> start_pulse();

}  // namespace emulated
