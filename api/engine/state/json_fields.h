// Reads fields of a client's JSON object, before or after the table of fields has checked them.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/base/result.h"

namespace engine {

// These read an object that nobody has looked at yet. A field that is absent or null says nothing.
// Errors: kInvalidArgument for a value of another type.
base::Result<std::string> text_field(const nlohmann::json& object, const char* field);
base::Result<bool> flag_field(const nlohmann::json& object, const char* field);
base::Result<std::map<std::string, std::string>> texts_field(const nlohmann::json& object,
                                                             const char* field);

// These read an object that the table of fields has checked (settings_fields.h): the field is
// there, and of its type or null.
std::int64_t integer_in(const nlohmann::json& object, const char* field,
                        std::int64_t otherwise = 0);
std::string text_in(const nlohmann::json& object, const char* field);
bool flag_in(const nlohmann::json& object, const char* field);
std::vector<std::string> strings_in(const nlohmann::json& object, const char* field);
std::map<std::string, std::string> texts_in(const nlohmann::json& object, const char* field);

/// Whether an int64_t holds the number: JSON has others, which would become other numbers.
bool is_integer(const nlohmann::json& value);
bool is_strings(const nlohmann::json& value);

/// Whether a text of HostConfig is one of `words`, or empty; kNotSupported if not.
base::Result<void> check_word(const nlohmann::json& host_config, const char* field,
                              std::initializer_list<std::string_view> words);

}  // namespace engine
