#include "api/http/target.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "vmm/base/letters.h"

namespace http {

using base::Code;
using base::Error;
using base::Result;

std::string to_string(ApiVersion version) {
  return std::to_string(version.major) + "." + std::to_string(version.minor);
}

namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/// "v1.43" -> {1, 43}; nullopt if `segment` is not of that form.
std::optional<ApiVersion> parse_version(std::string_view segment) {
  if (segment.size() < 4 || segment.size() > 12 || segment[0] != 'v') return std::nullopt;
  ApiVersion version;
  const char* const end = segment.data() + segment.size();
  const auto major = std::from_chars(segment.data() + 1, end, version.major);
  if (major.ec != std::errc() || major.ptr == end || *major.ptr != '.') return std::nullopt;
  const auto minor = std::from_chars(major.ptr + 1, end, version.minor);
  if (minor.ec != std::errc() || minor.ptr != end) return std::nullopt;
  if (version.major < 0 || version.minor < 0) return std::nullopt;
  return version;
}

Result<void> check_version(ApiVersion version) {
  if (version > kMaxApiVersion)
    return Error{Code::kInvalidArgument, "client version " + to_string(version) +
                                             " is too new. Maximum supported API version is " +
                                             to_string(kMaxApiVersion)};
  if (version < kMinApiVersion)
    return Error{Code::kInvalidArgument, "client version " + to_string(version) +
                                             " is too old. Minimum supported API version is " +
                                             to_string(kMinApiVersion) +
                                             ", please upgrade your client to a newer version"};
  return {};
}

}  // namespace

Result<std::string> percent_decode(std::string_view text, bool form) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '%') {
      const int high = i + 1 < text.size() ? hex_digit(text[i + 1]) : -1;
      const int low = i + 2 < text.size() ? hex_digit(text[i + 2]) : -1;
      if (high < 0 || low < 0) return Error{Code::kInvalidArgument, "invalid URL escape"};
      c = static_cast<char>(high * 16 + low);
      i += 2;
    } else if (form && c == '+') {
      c = ' ';
    }
    if (c == '\0') return Error{Code::kInvalidArgument, "invalid character in URL"};
    out.push_back(c);
  }
  return out;
}

Result<Query> Query::parse(std::string_view text) {
  Query query;
  while (!text.empty()) {
    const std::string_view pair = text.substr(0, text.find('&'));
    text.remove_prefix(std::min(text.size(), pair.size() + 1));
    if (pair.empty()) continue;
    const std::size_t equals = std::min(pair.find('='), pair.size());
    auto name = percent_decode(pair.substr(0, equals), true);
    if (!name) return std::move(name).error();
    auto value = percent_decode(pair.substr(std::min(equals + 1, pair.size())), true);
    if (!value) return std::move(value).error();
    query.pairs_.emplace_back(*std::move(name), *std::move(value));
  }
  return query;
}

std::optional<std::string> Query::get(std::string_view name) const {
  for (const auto& [key, value] : pairs_)
    if (key == name) return value;
  return std::nullopt;
}

std::string Query::get_or(std::string_view name, std::string_view otherwise) const {
  return get(name).value_or(std::string(otherwise));
}

bool Query::get_bool(std::string_view name, bool otherwise) const {
  const auto given = get(name);
  if (!given) return otherwise;
  const std::string value = base::lower_case(*given);
  const std::size_t first = value.find_first_not_of(' ');
  const std::string_view trimmed =
      first == std::string::npos
          ? std::string_view()
          : std::string_view(value).substr(first, value.find_last_not_of(' ') - first + 1);
  constexpr std::array<std::string_view, 5> kFalse{"", "0", "no", "false", "none"};
  return std::find(kFalse.begin(), kFalse.end(), trimmed) == kFalse.end();
}

Result<std::int64_t> Query::get_integer(std::string_view name, std::int64_t otherwise) const {
  const auto text = get(name);
  if (!text || text->empty()) return otherwise;
  std::int64_t value = 0;
  const char* const end = text->data() + text->size();
  const auto parsed = std::from_chars(text->data(), end, value);
  if (parsed.ec == std::errc() && parsed.ptr == end) return value;
  return Error{Code::kInvalidArgument,
               "invalid value for " + std::string(name) + ": \"" + text->substr(0, 32) + "\""};
}

std::vector<std::string> Query::get_all(std::string_view name) const {
  std::vector<std::string> values;
  for (const auto& [key, value] : pairs_)
    if (key == name) values.push_back(value);
  return values;
}

Result<Target> parse_target(std::string_view text) {
  const std::size_t mark = std::min(text.find('?'), text.size());
  auto path = percent_decode(text.substr(0, mark));
  if (!path) return std::move(path).error();
  if (path->empty() || path->front() != '/')
    return Error{Code::kInvalidArgument, "the request target is not a path"};
  auto query = Query::parse(text.substr(std::min(mark + 1, text.size())));
  if (!query) return std::move(query).error();

  Target target{.version = kMaxApiVersion, .path = *std::move(path), .query = *std::move(query)};
  const std::size_t slash = target.path.find('/', 1);
  if (slash == std::string::npos) return target;
  const auto version = parse_version(std::string_view(target.path).substr(1, slash - 1));
  if (!version) return target;
  RETURN_IF_ERROR(check_version(*version));
  target.version = *version;
  target.path.erase(0, slash);
  return target;
}

}  // namespace http
