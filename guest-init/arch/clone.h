// clone3_onto_stack(): clone3(2) onto a stack of its own, which glibc 2.36 does not offer, as the
// processor that this is compiled for needs it. Threads: any.
#pragma once

#if defined(__x86_64__)
#include "guest-init/arch/x86_64/clone.h"
#else
#error "guest-init has no clone3_onto_stack() for this processor"
#endif
