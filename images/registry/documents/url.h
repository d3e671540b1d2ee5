// Url: an absolute http or https URL (RFC 3986), as far as registries need it.
//
// Trust: the text comes from registries (realms, redirects, upload locations) and clients. No user
// information, no control characters, no fragment.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "vmm/base/result.h"

namespace registry {

struct Url {
  std::string scheme;        // "http" or "https"
  std::string host;          // name or address; IPv6 without brackets
  std::uint16_t port = 0;    // never 0 in one that was parsed
  std::string target = "/";  // path and query

  static base::Result<Url> parse(std::string_view text);
  /// What a Location header means relative to this URL.
  base::Result<Url> resolve(std::string_view location) const;

  bool is_tls() const { return scheme == "https"; }
  /// "host" or "host:port" as in a Host header: the scheme's own port is left out.
  std::string authority() const;
  std::string text() const { return scheme + "://" + authority() + target; }
  bool same_origin(const Url& other) const {
    return scheme == other.scheme && host == other.host && port == other.port;
  }
};

/// The same URL with another target.
Url with_target(const Url& url, std::string target);

/// Everything but unreserved characters becomes %XX.
std::string percent_encode(std::string_view text);

/// Adds "name=value" (encoded) to a target's query.
void add_query(std::string& target, std::string_view name, std::string_view value);

}  // namespace registry
