#include "api/engine/state/json_fields.h"

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

std::int64_t integer_in(const json& object, const char* field, std::int64_t otherwise) {
  const json& value = object.at(field);
  return value.is_null() ? otherwise : value.get<std::int64_t>();
}

std::string text_in(const json& object, const char* field) {
  return object.at(field).get<std::string>();
}

bool flag_in(const json& object, const char* field) {
  const json& value = object.at(field);
  return !value.is_null() && value.get<bool>();
}

std::vector<std::string> strings_in(const json& object, const char* field) {
  const json& value = object.at(field);
  return value.is_null() ? std::vector<std::string>() : value.get<std::vector<std::string>>();
}

std::map<std::string, std::string> texts_in(const json& object, const char* field) {
  const json& value = object.at(field);
  return value.is_null() ? std::map<std::string, std::string>()
                         : value.get<std::map<std::string, std::string>>();
}

bool is_integer(const json& value) {
  return value.is_number_integer() &&
         (!value.is_number_unsigned() || value.get<std::uint64_t>() <= INT64_MAX);
}

bool is_strings(const json& value) {
  return value.is_array() &&
         std::all_of(value.begin(), value.end(), [](const json& item) { return item.is_string(); });
}

Result<void> check_word(const json& host, const char* field,
                        std::initializer_list<std::string_view> words) {
  const auto& value = host.at(field).get_ref<const std::string&>();
  if (value.empty() || std::find(words.begin(), words.end(), value) != words.end()) return {};
  return Error{Code::kNotSupported, "HostConfig." + std::string(field) + " \"" +
                                        value.substr(0, 128) + "\" is not supported"};
}

}  // namespace engine
