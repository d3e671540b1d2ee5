#include "api/engine/build/cached_config.h"

namespace engine::build {

using nlohmann::json;

json container_config(const json& image_config) {
  json config{{"Hostname", ""},       {"Domainname", ""},      {"User", ""},
              {"AttachStdin", false}, {"AttachStdout", false}, {"AttachStderr", false},
              {"Tty", false},         {"OpenStdin", false},    {"StdinOnce", false},
              {"Env", nullptr},       {"Cmd", nullptr},        {"Image", ""},
              {"Volumes", nullptr},   {"WorkingDir", ""},      {"Entrypoint", nullptr},
              {"OnBuild", nullptr},   {"Labels", nullptr}};
  if (!image_config.is_object()) return config;
  constexpr const char* kOthers[] = {"ArgsEscaped", "ExposedPorts", "Healthcheck",
                                     "Shell",       "StopSignal",   "StopTimeout"};
  for (const auto& [name, value] : config.items())
    if (const auto found = image_config.find(name); found != image_config.end())
      config[name] = *found;
  for (const char* name : kOthers)
    if (const auto found = image_config.find(name);
        found != image_config.end() && !found->is_null())
      config[name] = *found;
  config["OpenStdin"] = false;
  config["StdinOnce"] = false;
  return config;
}

namespace {

/// What Go leaves out of JSON and what it writes as nothing are the same.
bool says_nothing(const json& value) {
  return value.is_null() || value == "" || value == false || value == 0 ||
         (value.is_structured() && value.empty());
}

json field_of(const json& config, const char* name) {
  const auto found = config.find(name);
  return found == config.end() || says_nothing(*found) ? json() : *found;
}

json health_of(const json& config) {
  json health = field_of(config, "Healthcheck");
  if (!health.is_object()) return health;
  for (auto item = health.begin(); item != health.end();)
    item = says_nothing(*item) ? health.erase(item) : std::next(item);
  return health;
}

}  // namespace

bool asks_the_same(const json& a, const json& b) {
  if (!a.is_object() || !b.is_object()) return false;
  constexpr const char* kFields[] = {
      "ArgsEscaped", "AttachStdin", "AttachStdout", "AttachStderr", "Cmd",
      "Entrypoint",  "Env",         "ExposedPorts", "Labels",       "NetworkDisabled",
      "OnBuild",     "OpenStdin",   "Shell",        "StdinOnce",    "StopSignal",
      "StopTimeout", "Tty",         "User",         "Volumes",      "WorkingDir"};
  for (const char* field : kFields)
    if (field_of(a, field) != field_of(b, field)) return false;
  return health_of(a) == health_of(b);
}

}  // namespace engine::build
