// Tells the host what is in a file of the machine, whenever it is replaced.
#pragma once

#include <string>

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace emulated {

/// Sends FileText frames on `socket`: one now, and one for each file that takes the place of the
/// one at `path`. Blocks the calling thread until the host closes the connection.
base::Result<void> watch_file(base::UniqueFd socket, const std::string& path);

}  // namespace emulated
