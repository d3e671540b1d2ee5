// enter_sandbox(): the containervm-layer program gives up everything that it does not need to
// convert a layer.
#pragma once

#include <cstdint>

#include "vmm/base/result.h"

namespace images {

/// From here on this process can read, write and seek in the descriptors it has, use memory and
/// end; nothing else: it cannot open files, make sockets or processes, or gain privileges. Any
/// other system call kills it. Before, root becomes nobody, in namespaces of its own with an empty
/// root and without capabilities (vmm/sandbox/sandbox.h). Not reversible.
/// `file_bytes`: no file may grow beyond this.
base::Result<void> enter_sandbox(std::uint64_t file_bytes);

}  // namespace images
