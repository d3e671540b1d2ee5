// <linux/kvm.h> with structures of the right size in C++, for the probe. The monitor spells those
// few structures out instead (vmm/kvm/table.h).
//
// Debian 12's kernel headers put an empty struct before each flexible array. In C it takes no room;
// in C++ it takes a byte, so sizeof(kvm_cpuid2), the ioctl numbers made from it and the place of
// the entries would all be wrong (the kernel answers EINVAL).
#pragma once

#include <linux/stddef.h>

#undef __DECLARE_FLEX_ARRAY
#define __DECLARE_FLEX_ARRAY(type, name) type name[0]

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#include <linux/kvm.h>
#pragma GCC diagnostic pop

static_assert(sizeof(kvm_cpuid2) == 8 && sizeof(kvm_msrs) == 8);
