// clone3_onto_stack(): clone3(2) whose child runs on a stack of its own, which glibc 2.36 does not
// offer; written for the processor that this is compiled for. Threads: any.
#pragma once

#if defined(__x86_64__)
#include "guest-init/arch/x86_64/clone.h"
#else
#error "guest-init has no clone3_onto_stack() for this processor"
#endif
