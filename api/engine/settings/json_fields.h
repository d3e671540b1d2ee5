// Fields of a client's JSON object that may be absent or null, and then say nothing.
//
// Errors: kInvalidArgument for a value of another type.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "vmm/base/result.h"

namespace engine {

base::Result<std::string> text_field(const nlohmann::json& object, const char* field);
base::Result<bool> flag_field(const nlohmann::json& object, const char* field);
base::Result<std::map<std::string, std::string>> texts_field(const nlohmann::json& object,
                                                             const char* field);

}  // namespace engine
