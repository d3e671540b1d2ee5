#include "images/registry/documents/answers.h"

#include <algorithm>
#include <charconv>
#include <cstddef>

#include "images/store/values/json.h"
#include "images/store/values/reference.h"

namespace registry {

using base::Code;
using base::Error;
using base::Result;

namespace {

constexpr std::size_t kMaxMessageBytes = 2048;
constexpr std::int64_t kMinTokenSeconds = 60;
constexpr std::int64_t kMaxTokenSeconds = 24 * 3600;

std::string printable(std::string_view text) {
  std::string shown(text.substr(0, kMaxMessageBytes));
  for (char& c : shown)
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) c = ' ';
  return shown;
}

bool is_token(const std::string& text) {
  return !text.empty() && text.size() <= kMaxTokenBytes &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

std::string error_name(std::string code) {
  for (char& c : code) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if (c == '_') c = ' ';
  }
  return code;
}

Code code_of(const std::string& name, int status) {
  if (name == "UNAUTHORIZED" || name == "DENIED") return Code::kPermissionDenied;
  if (name == "MANIFEST_UNKNOWN" || name == "NAME_UNKNOWN" || name == "BLOB_UNKNOWN")
    return Code::kNotFound;
  return code_of_status(status);
}

}  // namespace

Code code_of_status(int status) {
  if (status == 401 || status == 403) return Code::kPermissionDenied;
  return status == 404 ? Code::kNotFound : Code::kInternal;
}

Result<TokenAnswer> parse_token_answer(std::string_view body) {
  const auto parsed = images::parse_json(body, "unable to decode token response");
  if (!parsed) return Error{Code::kInternal, parsed.error().message};
  images::JsonObject object(*parsed);
  TokenAnswer answer{.token = object.text("token"), .refresh = object.text("refresh_token")};
  if (answer.token.empty()) answer.token = object.text("access_token");
  answer.lifetime = std::chrono::seconds(
      std::clamp(object.integer("expires_in"), kMinTokenSeconds, kMaxTokenSeconds));
  if (!object.ok() || (!answer.refresh.empty() && !is_token(answer.refresh)))
    return Error{Code::kInternal, "unable to decode token response"};
  if (!is_token(answer.token))
    return Error{Code::kInternal, "authorization server did not include a token in the response"};
  return answer;
}

std::optional<Error> parse_error_answer(std::string_view body, int status) {
  const auto parsed = images::parse_json(body, "error");
  if (!parsed || !parsed->is_object()) return std::nullopt;
  images::JsonObject object(*parsed);
  const std::vector<const nlohmann::json*> errors = object.objects("errors");
  if (!object.ok()) return std::nullopt;
  if (!errors.empty()) {
    images::JsonObject first(*errors.front());
    const std::string name = first.text("code");
    std::string message = first.text("message");
    if (name.empty()) return std::nullopt;
    if (message.empty()) message = error_name(name);
    return Error{code_of(name, status), printable(error_name(name) + ": " + message)};
  }
  const std::string details = object.text("details");
  if (details.empty()) return std::nullopt;
  return Error{code_of_status(status),
               printable((status == 401 ? "unauthorized: " : "denied: ") + details)};
}

std::optional<Error> parse_token_error(const std::vector<Challenge>& challenges) {
  for (const Challenge& challenge : challenges) {
    const std::string error = challenge.parameter("error");
    if (challenge.scheme != "bearer" || error.empty()) continue;
    const std::string text = printable(challenge.parameter("error_description"));
    if (error == "insufficient_scope")
      return Error{
          Code::kPermissionDenied,
          "denied: " + (text.empty() ? "requested access to the resource is denied" : text)};
    if (error == "invalid_token")
      return Error{Code::kPermissionDenied,
                   "unauthorized: " + (text.empty() ? "authentication required" : text)};
  }
  return std::nullopt;
}

Result<std::vector<std::string>> parse_tag_list(std::string_view body) {
  const auto parsed = images::parse_json(body, "invalid tag list");
  if (!parsed) return parsed.error();
  images::JsonObject object(*parsed);
  std::vector<std::string> tags;
  for (std::string& tag : object.texts("tags"))
    if (images::is_valid_tag(tag)) tags.push_back(std::move(tag));
  if (!object.ok()) return Error{Code::kInvalidArgument, "invalid tag list"};
  return tags;
}

std::string next_link(const std::string& header) {
  const std::size_t begin = header.find('<');
  const std::size_t end = header.find('>');
  if (begin == std::string::npos || end == std::string::npos || end < begin ||
      header.find("rel=\"next\"", end) == std::string::npos)
    return {};
  return header.substr(begin + 1, end - begin - 1);
}

std::optional<std::uint64_t> parse_number(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::optional<std::uint64_t> parse_range_start(std::string_view text) {
  if (const std::size_t space = text.find(' '); space != std::string_view::npos)
    text.remove_prefix(space + 1);
  if (text.starts_with("bytes=")) text.remove_prefix(6);
  text = text.substr(0, text.find('/'));
  const std::size_t dash = text.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  return parse_number(text.substr(0, dash));
}

std::optional<std::uint64_t> parse_upload_offset(std::string_view range) {
  const std::size_t dash = range.find('-');
  if (dash == std::string::npos) return std::nullopt;
  std::uint64_t last = 0;
  for (const char c : range.substr(dash + 1)) {
    if (c < '0' || c > '9' || last > (std::uint64_t{1} << 50)) return std::nullopt;
    last = last * 10 + static_cast<std::uint64_t>(c - '0');
  }
  // "0-0" is nothing for some registries and one byte for others; one byte is not worth a resume.
  return last == 0 ? 0 : last + 1;
}

Result<std::vector<FoundImage>> parse_found_images(std::string_view body, int limit) {
  const Error wrong{Code::kInternal, "the index's answer is not a list of search results"};
  const auto parsed = images::parse_json(body, "search results");
  if (!parsed) return wrong;
  images::JsonObject answer(*parsed);
  const std::vector<const nlohmann::json*> results = answer.objects("results");
  if (!answer.ok()) return wrong;
  std::vector<FoundImage> found;
  for (const nlohmann::json* result : results) {
    if (found.size() == static_cast<std::size_t>(limit)) break;
    images::JsonObject object(*result);
    FoundImage image{.name = object.text("name"),
                     .description = object.text("description"),
                     .stars = object.integer("star_count"),
                     .is_official = object.boolean("is_official"),
                     .is_automated = object.boolean("is_automated")};
    if (!object.ok()) return wrong;
    found.push_back(std::move(image));
  }
  return found;
}

}  // namespace registry
