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

Error unknown(const std::filesystem::path& path, const std::string& key) {
  return invalid(path, "the following directives don't match any configuration option: " + key);
}

bool is_text_list(const json& value) {
  return value.is_array() &&
         std::all_of(value.begin(), value.end(), [](const json& v) { return v.is_string(); });
}

/// As with Docker, a setting has one place.
Error given_twice(const std::filesystem::path& path, const std::string& key) {
  return invalid(path,
                 "the following directives are specified both as a flag and in the "
                 "configuration file: " +
                     key);
}

Result<void> read_proxies(const std::filesystem::path& path, const json& value, Options& options) {
  if (!value.is_object()) return invalid(path, "proxies is not an object");
  for (const auto& [key, text] : value.items()) {
    std::string* target = key == "http-proxy"    ? &options.proxies.http
                          : key == "https-proxy" ? &options.proxies.https
                          : key == "no-proxy"    ? &options.proxies.none
                                                 : nullptr;
    if (!target) return unknown(path, "proxies." + key);
    if (!text.is_string()) return invalid(path, "proxies." + key + " is not a text");
    if (!target->empty()) return given_twice(path, key);
    *target = text.get<std::string>();
  }
  return {};
}

}  // namespace

Result<void> read_config_file(const std::filesystem::path& path, Options& options) {
  std::ifstream file(path);
  std::stringstream text;
  if (!(text << file.rdbuf())) return invalid(path, "it cannot be read");
  const json config = json::parse(text.str(), nullptr, /*allow_exceptions=*/false);
  if (!config.is_object()) return invalid(path, "it is not a JSON object");
  for (const auto& [key, value] : config.items()) {
    if (key == "proxies") {
      RETURN_IF_ERROR(read_proxies(path, value, options));
      continue;
    }
    std::vector<std::string>* target = key == "insecure-registries" ? &options.insecure_registries
                                       : key == "registry-mirrors"  ? &options.registry_mirrors
                                                                    : nullptr;
    if (!target) return unknown(path, key);
    if (!is_text_list(value)) return invalid(path, key + " is not a list of texts");
    if (!target->empty()) return given_twice(path, key);
    *target = value.get<std::vector<std::string>>();
  }
  return {};
}

}  // namespace program
