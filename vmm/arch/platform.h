// The platform of the architecture this monitor is built for, and what else of it others may name.
#pragma once

#include "vmm/arch/x86_64/kernel/kernel_image.h"
#include "vmm/arch/x86_64/kvm_calls.h"
#include "vmm/arch/x86_64/platform.h"

namespace arch {

using x86_64::Platform;

/// What the host's KVM must have for it: kvm::System::adopt().
using x86_64::kRequirements;

/// e_machine of the kernels that it boots.
using x86_64::kElfMachine;

}  // namespace arch
