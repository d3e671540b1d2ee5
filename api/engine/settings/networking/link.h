// Link: another container under a name that one container alone has for it.
//
// Trust: the client's. Errors: kInvalidArgument in Docker's words. Threads: any.
// Spec: Docker Engine API 1.51, HostConfig.Links and EndpointSettings.Links.
#pragma once

#include <string>
#include <vector>

#include "vmm/base/result.h"

namespace engine {

inline constexpr std::size_t kMostLinks = 64;

struct Link {
  std::string container;  // its name or ID
  std::string alias;
  bool operator==(const Link&) const = default;
};

/// "name", "name:alias", or as an inspect shows one: "/name:/own-name/alias".
base::Result<Link> parse_link(const std::string& text);

/// All of them; kInvalidArgument, too, for more than kMostLinks.
base::Result<std::vector<Link>> parse_links(const std::vector<std::string>& texts);

}  // namespace engine
