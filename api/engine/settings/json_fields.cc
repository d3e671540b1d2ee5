#include "api/engine/settings/json_fields.h"

#include <algorithm>

namespace engine {

using base::Code;
using base::Error;
using base::Result;
using nlohmann::json;

namespace {

/// Null where the field says nothing.
const json& value_of(const json& object, const char* field) {
  static const json kNothing;
  const auto found = object.find(field);
  return found == object.end() ? kNothing : *found;
}

Error must_be(const char* field, const char* type) {
  return Error{Code::kInvalidArgument, std::string("invalid JSON: ") + field + " must be " + type};
}

}  // namespace

Result<std::string> text_field(const json& object, const char* field) {
  const json& value = value_of(object, field);
  if (value.is_null()) return std::string();
  if (!value.is_string()) return must_be(field, "a string");
  return value.get<std::string>();
}

Result<bool> flag_field(const json& object, const char* field) {
  const json& value = value_of(object, field);
  if (value.is_null()) return false;
  if (!value.is_boolean()) return must_be(field, "a boolean");
  return value.get<bool>();
}

Result<std::map<std::string, std::string>> texts_field(const json& object, const char* field) {
  const json& value = value_of(object, field);
  if (value.is_null()) return std::map<std::string, std::string>();
  const bool typed =
      value.is_object() &&
      std::all_of(value.begin(), value.end(), [](const json& item) { return item.is_string(); });
  if (!typed) return must_be(field, "an object of strings");
  return value.get<std::map<std::string, std::string>>();
}

}  // namespace engine
