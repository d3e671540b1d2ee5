// Challenges: what WWW-Authenticate headers ask for (RFC 9110, 11.6.1; distribution's token spec).
//
// Trust: the text comes from registries. What cannot be understood is passed over.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace registry {

struct Challenge {
  std::string scheme;                             // lower case: "bearer", "basic"
  std::map<std::string, std::string> parameters;  // names in lower case: "realm", "service"

  std::string parameter(const std::string& name) const;
};

/// The challenges of one header's value, in order; at most kMaxChallenges of them.
inline constexpr std::size_t kMaxChallenges = 16;
std::vector<Challenge> parse_challenges(std::string_view header);

}  // namespace registry
