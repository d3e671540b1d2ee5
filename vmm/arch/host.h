// What the architecture of this build is called, and what of a host a saved machine depends on.
#pragma once

#include "vmm/arch/x86_64/host.h"

namespace arch {

/// The architecture's name, as `uname -m` has it.
using x86_64::kName;

using x86_64::host_identity;

}  // namespace arch
