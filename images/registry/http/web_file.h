// fetch_file(): fetches a file from any web server, for `ADD URL` of a build.
//
// It is bounded in size and time, follows redirects, and sends neither credentials nor cookies. The
// `client` should be one that reaches other hosts only (Reach), as a user chose the URL.
// Trust: the server is hostile; its headers are bounded by HttpClient.
// Errors: `Get "http://...": ` and those of connection.h; "failed to GET URL with status ...";
// kResourceExhausted, kDeadlineExceeded for what is beyond the limits.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "images/registry/http/http_client.h"

namespace registry {

struct WebFileLimits {
  std::uint64_t bytes = std::uint64_t{16} << 30;
  std::chrono::seconds time{3600};
};

struct WebFile {
  std::string name;  // the URL's last part, else what the server calls it; may be empty
  std::uint64_t bytes = 0;
  std::int64_t modified = 0;  // Unix time, as the server says; else 0
};

/// Bytes so far, and of how many (0: unknown).
using WebProgress = std::function<void(std::uint64_t current, std::uint64_t total)>;

base::Result<WebFile> fetch_file(HttpClient& client, const Url& url, images::ByteSink& into,
                                 const WebFileLimits& limits, const WebProgress& progress,
                                 const StopSignal& stop);

/// The time of a Last-Modified field (RFC 9110, 5.6.7).
std::optional<std::int64_t> parse_http_time(std::string_view text);
/// What a file of this path, or with this Content-Disposition field, is called; may be empty.
std::string web_file_name(std::string_view target, std::string_view disposition);

}  // namespace registry
