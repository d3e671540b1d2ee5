// The KVM requests of the architecture this monitor is built for, for the sandbox's filters.
#pragma once

#include "vmm/arch/x86_64/kvm_requests.h"

namespace arch {

using x86_64::kBuildingRequests;
using x86_64::kReadingRequests;

}  // namespace arch
