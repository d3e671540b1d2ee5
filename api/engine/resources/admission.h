// Admission: decides whether the host's real memory lets a limit, or one more machine, in.
//
// A guest's memory is demand-paged, so the sum of all limits may exceed what there is, as with
// Docker. Refused are a single container whose limit is more than the host has, and a start while
// the host has less left than a machine needs at once and the daemon and the host need to go on.
// Threads: any; one short read of /proc/meminfo.
#pragma once

#include <cstdint>
#include <string_view>

#include "vmm/base/result.h"

namespace engine {

struct HostMemory {
  std::uint64_t total_bytes = 0;
  std::uint64_t available_bytes = 0;  // as the kernel estimates: without swapping
};

/// Reads /proc/meminfo.
base::Result<HostMemory> read_host_memory();
/// Reads a text like that of /proc/meminfo; kDataLoss if it lacks a number that is needed.
base::Result<HostMemory> parse_host_memory(std::string_view text);

/// Whether a container may have `limit` bytes (0: none of its own). kInvalidArgument.
base::Result<void> admit_limit(std::uint64_t limit, const HostMemory& memory);

/// Whether one more machine may be started now. kResourceExhausted, in the kernel's words.
base::Result<void> admit_machine(const HostMemory& memory);

}  // namespace engine
