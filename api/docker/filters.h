// Filters: the `filters` query parameter, in both of its forms: {"label":["a=b"]} and, older,
// {"label":{"a=b":true}}.
//
// Trust: the text comes from the client. Errors: kInvalidArgument in Docker's words.
#pragma once

#include <functional>
#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/base/result.h"

namespace docker {

class Filters {
 public:
  /// Absent or empty text: no filters. A name that is not in `allowed` is an Error.
  static base::Result<Filters> parse(const std::optional<std::string>& text,
                                     std::initializer_list<std::string_view> allowed);

  bool has(std::string_view name) const { return values_.contains(name); }
  /// The alternatives under `name`; empty if it was not given.
  const std::vector<std::string>& get(std::string_view name) const;

  /// Whether `name` was not given, or one of its values satisfies `test`.
  bool any(std::string_view name, const std::function<bool(const std::string&)>& test) const;

  /// Docker's label rule: every "key" is present, every "key=value" equal; "label!" the reverse.
  bool labels_match(const std::map<std::string, std::string>& labels) const;

 private:
  std::map<std::string, std::vector<std::string>, std::less<>> values_;
};

/// Docker's name patterns as people use them: a part of the name, with ^, $ and .* where given.
bool name_matches(std::string_view pattern, std::string_view name);

}  // namespace docker
