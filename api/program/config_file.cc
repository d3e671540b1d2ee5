#include "api/program/config_file.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

namespace program {

using base::Code;
using base::Error;
using base::Result;
using nlohmann::json;

namespace {

Error invalid(const std::filesystem::path& path, const std::string& why) {
  return {Code::kInvalidArgument,
          "unable to configure the daemon with file " + path.string() + ": " + why};
}

bool is_text_list(const json& value) {
  return value.is_array() &&
         std::all_of(value.begin(), value.end(), [](const json& v) { return v.is_string(); });
}

}  // namespace

Result<void> read_config_file(const std::filesystem::path& path, Options& options) {
  std::ifstream file(path);
  std::stringstream text;
  if (!(text << file.rdbuf())) return invalid(path, "it cannot be read");
  const json config = json::parse(text.str(), nullptr, /*allow_exceptions=*/false);
  if (!config.is_object()) return invalid(path, "it is not a JSON object");
  for (const auto& [key, value] : config.items()) {
    std::vector<std::string>* target = key == "insecure-registries" ? &options.insecure_registries
                                       : key == "registry-mirrors"  ? &options.registry_mirrors
                                                                    : nullptr;
    if (!target)
      return invalid(path, "the following directives don't match any configuration option: " + key);
    if (!is_text_list(value)) return invalid(path, key + " is not a list of texts");
    // As with Docker, a setting has one place.
    if (!target->empty())
      return invalid(path,
                     "the following directives are specified both as a flag and in the "
                     "configuration file: " +
                         key);
    *target = value.get<std::vector<std::string>>();
  }
  return {};
}

}  // namespace program
