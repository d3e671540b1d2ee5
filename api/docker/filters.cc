#include "api/docker/filters.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "api/http/message.h"

namespace docker {

using base::Code;
using base::Error;
using base::Result;

namespace {

const Error kMalformed{Code::kInvalidArgument, "invalid filter"};

Result<std::vector<std::string>> values_of(const nlohmann::json& item) {
  std::vector<std::string> values;
  if (item.is_array()) {
    for (const auto& value : item) {
      if (!value.is_string()) return kMalformed;
      values.push_back(value.get<std::string>());
    }
    return values;
  }
  if (!item.is_object()) return kMalformed;
  for (const auto& [value, wanted] : item.items()) {
    if (!wanted.is_boolean()) return kMalformed;
    if (wanted.get<bool>()) values.push_back(value);
  }
  return values;
}

/// "key" or "key=value" against a set of labels.
bool label_matches(const std::string& wanted, const std::map<std::string, std::string>& labels) {
  const std::size_t equals = wanted.find('=');
  const auto found = labels.find(wanted.substr(0, equals));
  if (found == labels.end()) return false;
  return equals == std::string::npos || found->second == wanted.substr(equals + 1);
}

}  // namespace

Result<Filters> Filters::parse(const std::optional<std::string>& text,
                               std::initializer_list<std::string_view> allowed) {
  Filters filters;
  if (!text || text->empty()) return filters;
  const auto value = http::parse_json(*text);
  if (!value || !value->is_object()) return kMalformed;
  for (const auto& [name, item] : value->items()) {
    if (std::find(allowed.begin(), allowed.end(), name) == allowed.end())
      return Error{Code::kInvalidArgument, "invalid filter '" + name.substr(0, 64) + "'"};
    auto values = values_of(item);
    if (!values) return std::move(values).error();
    if (!values->empty()) filters.values_[name] = *std::move(values);
  }
  return filters;
}

const std::vector<std::string>& Filters::get(std::string_view name) const {
  static const std::vector<std::string> kNone;
  const auto found = values_.find(name);
  return found == values_.end() ? kNone : found->second;
}

bool Filters::any(std::string_view name,
                  const std::function<bool(const std::string&)>& test) const {
  const std::vector<std::string>& values = get(name);
  return values.empty() || std::any_of(values.begin(), values.end(), test);
}

bool Filters::labels_match(const std::map<std::string, std::string>& labels) const {
  const auto matches = [&](const std::string& wanted) { return label_matches(wanted, labels); };
  const auto& wanted = get("label");
  const auto& unwanted = get("label!");
  return std::all_of(wanted.begin(), wanted.end(), matches) &&
         std::none_of(unwanted.begin(), unwanted.end(), matches);
}

bool name_matches(std::string_view pattern, std::string_view name) {
  const bool from_start = pattern.starts_with('^');
  if (from_start) pattern.remove_prefix(1);
  const bool to_end = pattern.ends_with('$');
  if (to_end) pattern.remove_suffix(1);
  if (pattern.starts_with('/')) pattern.remove_prefix(1);

  std::size_t at = 0;
  bool anchored = from_start;
  for (;;) {
    const std::size_t wildcard = pattern.find(".*");
    const std::string_view literal = pattern.substr(0, wildcard);
    if (wildcard == std::string_view::npos && to_end) {
      if (name.size() < at + literal.size() || !name.ends_with(literal)) return false;
      return !anchored || name.size() == at + literal.size();
    }
    const std::size_t found = name.find(literal, at);
    if (found == std::string_view::npos || (anchored && found != at)) return false;
    if (wildcard == std::string_view::npos) return true;
    at = found + literal.size();
    anchored = false;
    pattern.remove_prefix(wildcard + 2);
  }
}

}  // namespace docker
