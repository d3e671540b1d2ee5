// resolve_user(): who a process runs as: Docker's --user, looked up in the container's /etc/passwd
// and /etc/group. A pure function.
//
// Trust: both files are the image's or the container's and may hold any bytes. Lines that are not
// entries are skipped; ids outside of 0..2^31-1 are not accepted, as with Docker.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/base/result.h"

namespace guest_init {

struct Credentials {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::vector<std::uint32_t> groups;  // the supplementary ones, `gid` first
  std::string home = "/";
};

/// `spec` is "", "user" or "user:group", each a name or a number; `additional` are the values of
/// --group-add; `passwd` and `group` are the contents of the files. kNotFound, with Docker's
/// sentence, for a name that has no entry.
base::Result<Credentials> resolve_user(std::string_view spec,
                                       const std::vector<std::string>& additional,
                                       std::string_view passwd, std::string_view group);

}  // namespace guest_init
