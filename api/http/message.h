// Request and Response as handlers see them: plain values, no sockets.
//
// Trust: everything in a Request is chosen by the client.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/http/status.h"
#include "api/http/target.h"
#include "vmm/base/result.h"

namespace http {

/// Header fields in their order; names are compared without case.
class Headers {
 public:
  void add(std::string name, std::string value);
  std::optional<std::string_view> get(std::string_view name) const;
  const std::vector<std::pair<std::string, std::string>>& all() const { return fields_; }

 private:
  std::vector<std::pair<std::string, std::string>> fields_;
};

struct ParsedBody;

struct Request {
  std::string method;
  ApiVersion version;
  std::string path;  // decoded, without the version prefix
  Query query;
  Headers headers;
  std::string body;  // whole, for a Router::Handler; empty for a Router::StreamHandler
  /// The body parsed as JSON, if that was done already, on another thread; else null.
  std::shared_ptr<const ParsedBody> parsed;

  /// The part of the path that "{name}" of the route matched; empty, which is a bug, if the route
  /// has none.
  std::string path_arg(std::string_view name) const;
  /// The body as JSON; an Error in Docker's words (kInvalidArgument) if it is not, or if the
  /// content type says something else. An empty body is an Error too.
  base::Result<nlohmann::json> json() const;

  std::vector<std::pair<std::string, std::string>> path_args;
};

struct Response {
  Status status = Status::kOk;
  std::string content_type{};  // empty: no Content-Type
  std::string body{};
  Headers headers{};  // in addition to those every response carries
};

/// No body: 204, 304, 200.
Response empty(Status status);
Response text(Status status, std::string body);
/// application/json with the given text, which must be JSON.
Response json(Status status, const nlohmann::json& value);
/// {"message": ...} with the status of the error's code.
Response error_response(const base::Error& error);
Response error_response(Status status, std::string_view message);
/// Answers a request whose body could not be read: 400; 408 if it did not come; 413 if too large.
Response body_error_response(const base::Error& error);

/// Parses JSON without exceptions, with bounded nesting and a bounded number of values: the tree
/// that is made of a text is otherwise up to thirty times as large.
base::Result<nlohmann::json> parse_json(std::string_view text);

/// What parse_json() has made of a body.
struct ParsedBody {
  explicit ParsedBody(std::string_view text);
  ~ParsedBody();
  std::unique_ptr<const base::Result<nlohmann::json>> result;
};

/// `value` as text; bytes that are not UTF-8 become U+FFFD instead of an exception.
std::string dump_json(const nlohmann::json& value);

}  // namespace http
