// Strict JSON, for files in which a mistake must not go unnoticed: a key that is there twice, or
// that nobody reads, is an error (containers-policy.json(5): "unrecognized, duplicated or otherwise
// invalid fields cause the entire file ... to be rejected").
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/base/result.h"

namespace images {

/// Parses at most `max_bytes`, nested at most 16 deep. kInvalidArgument says what is wrong.
base::Result<nlohmann::json> parse_strict_json(std::string_view text, std::size_t max_bytes);

/// Reads the members of one object; the first mistake is kept for done().
class StrictObject {
 public:
  /// `value` outlives it. `where` begins the sentences: "scope \"x\"".
  StrictObject(const nlohmann::json& value, std::string where);

  /// Null if it is not there.
  const nlohmann::json* find(const char* key);
  /// A member that must be there. If it is not, that is a mistake, and the result an empty object.
  const nlohmann::json& need(const char* key);
  std::optional<std::string> text(const char* key);
  std::string need_text(const char* key);
  /// A list of strings, of which there must be at least one.
  std::vector<std::string> texts(const char* key);
  void fail(std::string why);
  bool failed() const { return error_.has_value(); }
  /// An Error if there was any mistake, or a key that was not asked for.
  base::Result<void> done();

 private:
  const nlohmann::json& value_;
  const std::string where_;
  std::set<std::string, std::less<>> asked_;
  std::optional<base::Error> error_;
};

}  // namespace images
