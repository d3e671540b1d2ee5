// kernel_release: what `uname -r` says in a guest, read from the kernel's file.
#pragma once

#include <filesystem>
#include <string>

#include "vmm/base/result.h"

namespace engine {

/// The release in the banner of an uncompressed vmlinux ("6.12.117-containervm"). Blocks while the
/// file is read. Any thread. kNotFound: the file holds no banner.
base::Result<std::string> kernel_release(const std::filesystem::path& kernel);

}  // namespace engine
