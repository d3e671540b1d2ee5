// The platform of the architecture this monitor is built for.
#pragma once

#include "vmm/arch/x86_64/platform.h"

namespace arch {

using x86_64::Platform;

}  // namespace arch
