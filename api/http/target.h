// The request target: path, API version prefix, query.
//
// Trust: every byte is chosen by the client. No target makes these functions throw or allocate more
// than a few times its size.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "vmm/base/result.h"

namespace http {

/// Docker Engine API version, "1.51".
struct ApiVersion {
  int major = 0;
  int minor = 0;
  auto operator<=>(const ApiVersion&) const = default;
};
inline constexpr ApiVersion kMaxApiVersion{1, 51};
inline constexpr ApiVersion kMinApiVersion{1, 24};

std::string to_string(ApiVersion version);

/// %xx decoded; '+' stays unless `form` (a query). kInvalidArgument for a broken escape or a NUL.
base::Result<std::string> percent_decode(std::string_view text, bool form = false);

/// The decoded pairs of a query string, in their order.
class Query {
 public:
  static base::Result<Query> parse(std::string_view text);

  /// The first value under `name`.
  std::optional<std::string> get(std::string_view name) const;
  std::string get_or(std::string_view name, std::string_view otherwise) const;
  /// Docker's rule: absent, "", "0", "no", "false", "none" are false; anything else is true.
  bool get_bool(std::string_view name, bool otherwise = false) const;
  /// A decimal number; `otherwise` when absent or empty. kInvalidArgument for what is none, or does
  /// not fit.
  base::Result<std::int64_t> get_integer(std::string_view name, std::int64_t otherwise) const;
  std::vector<std::string> get_all(std::string_view name) const;

 private:
  std::vector<std::pair<std::string, std::string>> pairs_;
};

struct Target {
  ApiVersion version = kMaxApiVersion;  // what the prefix said, else the newest
  std::string path;                     // decoded, without the version prefix, starts with '/'
  Query query;
};

/// Splits "/v1.43/containers/json?all=1". kInvalidArgument, in Docker's words, for a version that
/// is too new or too old.
base::Result<Target> parse_target(std::string_view text);

}  // namespace http
