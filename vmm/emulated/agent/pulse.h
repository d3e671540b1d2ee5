#pragma once

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace emulated {

/// Has the machine interrupted a few times a second, by a comparator of its HPET, while the
/// returned descriptor is open. Nobody needs to read from it.
///
/// QEMU (7.2 to 10.0 at least) now and then loses an interrupt: its helper_vmrun sets a bit of
/// `interrupt_request` without the lock that those hold who set others. An interrupt lost waits in
/// the local APIC until another one makes QEMU look there again. When it was the one-shot timer's,
/// no other one need ever come: the guest runs on, and everything that waits for time waits. This
/// bounds the wait; QEMU on one processor of its host (host/processor.h) makes the loss itself
/// rare.
base::Result<base::UniqueFd> start_pulse();

}  // namespace emulated
