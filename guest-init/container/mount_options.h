// parse_tmpfs_options(): the options of `docker run --tmpfs PATH:OPTIONS`, divided into attributes
// of the mount and parameters of the file system. A pure function; the text is the client's.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "vmm/base/result.h"

namespace guest_init {

struct TmpfsOptions {
  std::uint64_t attributes = 0;                                 // MOUNT_ATTR_*
  std::vector<std::pair<std::string, std::string>> parameters;  // "size" -> "64m"
};

/// Starts from Docker's defaults (noexec, nosuid, nodev); later options win over earlier ones.
/// kInvalidArgument for an option that tmpfs does not have.
base::Result<TmpfsOptions> parse_tmpfs_options(std::string_view options);

}  // namespace guest_init
