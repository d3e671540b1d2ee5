// The platform of the architecture that this monitor is built for, and the few names beside it that
// code above may use.
#pragma once

#include "vmm/arch/x86_64/kernel/kernel_image.h"
#include "vmm/arch/x86_64/kvm_calls.h"
#include "vmm/arch/x86_64/platform.h"

namespace arch {

using x86_64::Platform;

/// The capabilities of KVM that the platform needs, for kvm::System::adopt().
using x86_64::kRequirements;

/// The e_machine of the kernels that the platform boots (ELF).
using x86_64::kElfMachine;

}  // namespace arch
