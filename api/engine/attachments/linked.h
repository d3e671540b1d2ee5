// HostConfig.Links of containers on the default network: others under names of one's own, as lines
// of /etc/hosts and as variables. On networks that were created the resolver knows links.
#pragma once

#include <functional>
#include <string_view>

#include "api/engine/container/container.h"

namespace engine {

using FindLinked = std::function<base::Result<ContainerPtr>(std::string_view id)>;

/// Whether the container has such links.
bool has_links(const Container& container);

/// What it knows of them. One that was removed is none any more. kInternal, in Docker's words: one
/// does not run, or is not on the default network; kInvalidArgument: more variables than a process
/// can be given.
base::Result<LinkedNames> linked_names(const Container& container, const FindLinked& find);

}  // namespace engine
