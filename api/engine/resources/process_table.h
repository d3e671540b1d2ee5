// The table of `docker top`: a guest's process list as ps(1) prints it.
//
// Docker runs the host's ps; here no host process is the container's, so the guest's list is
// formatted. Understood are the arguments people use: -ef, aux and their parts, and lists of
// columns (-o, -eo, o). Others are refused, since a table with other columns would mislead.
// Trust: texts and numbers are the guest's; what does not parse shows as 0 or "?".
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "guest-init/protocol/messages.h"
#include "vmm/base/result.h"

namespace engine {

struct ProcessTable {
  std::vector<std::string> titles;
  std::vector<std::vector<std::string>> rows;
};

/// `arguments`: as `docker top` passes them; empty: "-ef". `now_s`: the present as Unix time.
base::Result<ProcessTable> make_process_table(const protocol::ProcessList& list,
                                              std::string_view arguments, std::int64_t now_s);

}  // namespace engine
