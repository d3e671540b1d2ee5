#include "api/http/message.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "vmm/base/letters.h"

namespace http {

using base::Code;
using base::Error;
using base::Result;

namespace {

/// Deeper JSON than any Docker client sends; stops a body of brackets from exhausting the stack.
constexpr int kMaxJsonDepth = 64;
/// More values, counting names as such, than any real request has: a thousand variables and the
/// default seccomp profile are about 4,000. Their tree takes up to 10 MiB.
constexpr std::size_t kMaxJsonValues = 100'000;

/// Removes parameters: "application/json; charset=utf-8" -> "application/json".
std::string_view media_type(std::string_view content_type) {
  content_type = content_type.substr(0, content_type.find(';'));
  while (!content_type.empty() && content_type.back() == ' ') content_type.remove_suffix(1);
  return content_type;
}

struct JsonSize {
  int depth = 0;           // the deepest nesting
  std::size_t values = 1;  // at most so many
};

/// Judged by what stands outside of strings.
JsonSize size_of_json(std::string_view text) {
  JsonSize size;
  int depth = 0;
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\') ++i;
      if (c == '"') quoted = false;
      continue;
    }
    if (c == '"') quoted = true;
    if (c == ',' || c == ':' || c == '{' || c == '[') ++size.values;
    if (c == '{' || c == '[') size.depth = std::max(size.depth, ++depth);
    if (c == '}' || c == ']') --depth;
  }
  return size;
}

}  // namespace

void Headers::add(std::string name, std::string value) {
  fields_.emplace_back(std::move(name), std::move(value));
}

std::optional<std::string_view> Headers::get(std::string_view name) const {
  for (const auto& [key, value] : fields_)
    if (base::equals_ignoring_case(key, name)) return value;
  return std::nullopt;
}

std::string Request::path_arg(std::string_view name) const {
  for (const auto& [key, value] : path_args)
    if (key == name) return value;
  return {};
}

Result<nlohmann::json> Request::json() const {
  const std::string_view type = media_type(headers.get("Content-Type").value_or(""));
  if (!body.empty() && !base::equals_ignoring_case(type, "application/json"))
    return Error{Code::kInvalidArgument, "unsupported Content-Type header (" + std::string(type) +
                                             "): must be 'application/json'"};
  if (body.empty())
    return Error{Code::kInvalidArgument, "invalid JSON: got EOF while reading request body"};
  if (parsed) return *parsed->result;
  return parse_json(body);
}

Result<nlohmann::json> parse_json(std::string_view text) {
  const JsonSize size = size_of_json(text);
  if (size.depth > kMaxJsonDepth)
    return Error{Code::kInvalidArgument, "invalid JSON: nested too deeply"};
  if (size.values > kMaxJsonValues)
    return Error{Code::kInvalidArgument, "invalid JSON: too many values"};
  nlohmann::json value = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (value.is_discarded())
    return Error{Code::kInvalidArgument, "invalid JSON: the text is not one JSON value"};
  return value;
}

ParsedBody::ParsedBody(std::string_view text)
    : result(std::make_unique<const Result<nlohmann::json>>(parse_json(text))) {}

ParsedBody::~ParsedBody() = default;

std::string dump_json(const nlohmann::json& value) {
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Response empty(Status status) { return Response{.status = status}; }

Response text(Status status, std::string body) {
  return Response{.status = status,
                  .content_type = "text/plain; charset=utf-8",
                  .body = std::move(body),
                  .headers = {}};
}

Response json(Status status, const nlohmann::json& value) {
  return Response{.status = status,
                  .content_type = "application/json",
                  .body = dump_json(value) + "\n",
                  .headers = {}};
}

Response error_response(const Error& error) {
  return error_response(status_of(error.code), error.message);
}

Response body_error_response(const Error& error) {
  Status status = Status::kBadRequest;
  if (error.code == Code::kResourceExhausted) status = Status::kPayloadTooLarge;
  if (error.code == Code::kDeadlineExceeded) status = Status::kRequestTimeout;
  return error_response(status, error.message);
}

Response error_response(Status status, std::string_view message) {
  return json(status, nlohmann::json{{"message", message}});
}

}  // namespace http
