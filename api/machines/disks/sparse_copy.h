// sparse_copy: copies a file's data and leaves its holes holes.
#pragma once

#include <filesystem>

#include "vmm/base/result.h"

namespace engine {

/// Makes `to` (it must not exist) as a copy of `from`: shared blocks where the filesystem can
/// (FICLONE), else only the data extents, synced to disk. Blocks. On an error there is no `to`.
base::Result<void> sparse_copy(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace engine
