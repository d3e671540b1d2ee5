// A directory tree whose files somebody else made, a guest for example: any depth, any names.
//
// Both walk by descriptors, of which they have a few open at a time, and follow no symbolic link.
// Threads: any; block for as long as the tree is large.
#pragma once

#include <cstdint>
#include <filesystem>

#include "vmm/base/result.h"

namespace engine {

/// Removes `path`, whatever it is, with all that is below. That nothing is there is no Error.
base::Result<void> remove_tree(const std::filesystem::path& path);

/// The bytes that the tree takes on the disk. Of a tree with more than a million files, or
/// directories in more than 64 others, it is less than that.
std::uint64_t bytes_of_tree(const std::filesystem::path& path);

}  // namespace engine
