// Answers: parses the bodies and headers of what registries, their token servers and indexes
// answer, but for manifests (manifest.h). Pure functions.
//
// Trust: every text is hostile. Its size is bounded by who reads it from the connection; counts are
// bounded here, and what is shown is printable and short.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "images/registry/documents/challenge.h"
#include "vmm/base/result.h"

namespace registry {

inline constexpr std::size_t kMaxTokenBytes = 64u << 10;

/// A token server's answer (distribution's docs/spec/auth/token.md and oauth.md).
struct TokenAnswer {
  std::string token;    // never empty; characters that a header's value may have
  std::string refresh;  // empty if there is none
  std::chrono::seconds lifetime{0};
};
base::Result<TokenAnswer> parse_token_answer(std::string_view body);

/// The first error of an answer's body (distribution spec, "errors"); nullopt if it names none.
std::optional<base::Error> parse_error_answer(std::string_view body, int status);
/// The Error that challenges name for the token that was sent (RFC 6750, 3.1); nullopt: none.
std::optional<base::Error> parse_token_error(const std::vector<Challenge>& challenges);
/// What a status alone means.
base::Code code_of_status(int status);

/// The names in a tag list that can be tags. kInvalidArgument: the body is no tag list.
base::Result<std::vector<std::string>> parse_tag_list(std::string_view body);
/// The target of a Link header's "next" (RFC 8288); empty if there is none.
std::string next_link(const std::string& header);

std::optional<std::uint64_t> parse_number(std::string_view text);
/// "bytes 100-199/1000" or "0-99": the number that the range begins with.
std::optional<std::uint64_t> parse_range_start(std::string_view text);
/// An upload's Range header, "0-99": where it goes on.
std::optional<std::uint64_t> parse_upload_offset(std::string_view range);

/// One result of an index's search.
struct FoundImage {
  std::string name;
  std::string description;
  std::int64_t stars = 0;
  bool is_official = false;
  bool is_automated = false;
};
/// The results, at most `limit`. kInternal: the body is no list of results.
base::Result<std::vector<FoundImage>> parse_found_images(std::string_view body, int limit);

}  // namespace registry
