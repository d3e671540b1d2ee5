#include "api/engine/settings/networking/link.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;

namespace {

constexpr std::size_t kLongestName = 253;  // RFC 1035, as text

/// Of a path, what follows its last slash.
std::string last_part(const std::string& path) { return path.substr(path.rfind('/') + 1); }

}  // namespace

Result<Link> parse_link(const std::string& text) {
  if (text.empty())
    return Error{Code::kInvalidArgument, "invalid link format: empty string specified for links"};
  const std::size_t colon = text.find(':');
  Link link{text.substr(0, colon), colon == std::string::npos ? text : text.substr(colon + 1)};
  if (link.container.starts_with('/')) {
    link.container.erase(0, 1);
    link.alias = last_part(link.alias);
  }
  const bool bad = link.container.empty() || link.alias.empty() ||
                   link.alias.find_first_of(":/ \t\r\n") != std::string::npos ||
                   link.container.size() > kLongestName || link.alias.size() > kLongestName;
  if (bad)
    return Error{Code::kInvalidArgument,
                 "invalid link format: bad format for links: " + text.substr(0, kLongestName)};
  return link;
}

Result<std::vector<Link>> parse_links(const std::vector<std::string>& texts) {
  if (texts.size() > kMostLinks)
    return Error{Code::kInvalidArgument,
                 "a container has at most " + std::to_string(kMostLinks) + " links here"};
  std::vector<Link> links;
  for (const std::string& text : texts) {
    auto link = parse_link(text);
    if (!link) return std::move(link).error();
    links.push_back(*std::move(link));
  }
  return links;
}

}  // namespace engine
