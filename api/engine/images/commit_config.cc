#include "api/engine/images/commit_config.h"

#include <algorithm>
#include <string_view>

#include "api/engine/settings/settings_fields.h"
#include "images/store/values/changes.h"
#include "images/store/values/image_config.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;
using nlohmann::json;

namespace {

/// The fields of a container's configuration that an image has, too.
constexpr const char* kImageFields[] = {"ArgsEscaped",  "Cmd",         "Entrypoint",  "Env",
                                        "ExposedPorts", "Healthcheck", "Labels",      "OnBuild",
                                        "Shell",        "StopSignal",  "StopTimeout", "User",
                                        "Volumes",      "WorkingDir"};

bool same_letters(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [&](char x, char y) { return lower(x) == lower(y); });
}

/// The image's fields of `from`, without those that say nothing.
json image_fields(const json& from) {
  json fields = json::object();
  for (const auto& [key, value] : from.items()) {
    const auto* field =
        std::find_if(std::begin(kImageFields), std::end(kImageFields),
                     [&, &name = key](const char* known) { return same_letters(known, name); });
    if (field != std::end(kImageFields) && !value.is_null() && value != "" && value != false)
      fields[*field] = value;
  }
  for (const char* command : {"Cmd", "Entrypoint", "Shell"})  // a string is a list of one
    if (const auto found = fields.find(command); found != fields.end() && found->is_string())
      *found = json::array({*found});
  return fields;
}

/// A container's configuration is what is sent; an image has not all of it.
Result<void> check_known(const json& body) {
  for (const auto& [key, value] : body.items()) {
    const auto fields = config_fields();
    const bool known = std::ranges::any_of(
        fields, [&, &name = key](const auto& field) { return same_letters(field.name, name); });
    const bool says_nothing = value.is_null() || value == "" || value == false || value == 0 ||
                              (value.is_structured() && value.empty());
    if (!known && !says_nothing)
      return Error{Code::kNotSupported, "the field " + key.substr(0, 64) + " is not supported"};
  }
  return {};
}

/// Whether the store could read it back: its parser knows all fields' types.
Result<void> check(const json& config) {
  const json image{{"config", config},
                   {"rootfs", {{"type", "layers"}, {"diff_ids", json::array()}}}};
  const std::string text = image.dump(-1, ' ', false, json::error_handler_t::replace);
  const auto parsed = images::parse_image_config(text);
  if (parsed) return {};
  return Error{Code::kInvalidArgument,
               "invalid JSON: a field of the configuration has the wrong type"};
}

bool is_empty(const json& config, const char* field) {
  const auto found = config.find(field);
  return found == config.end() || found->empty();
}

std::string key_of(const json& variable) {
  const std::string& text = variable.get_ref<const std::string&>();
  return text.substr(0, text.find('='));
}

void take_if_empty(json& config, const json& container, const char* field) {
  if (is_empty(config, field) && container.contains(field)) config[field] = container.at(field);
}

/// Adds the members of an object that `config` lacks.
void complete_object(json& config, const json& container, const char* field) {
  if (is_empty(container, field)) return;
  json& into = config[field];
  if (!into.is_object()) into = json::object();
  for (const auto& [key, value] : container.at(field).items())
    if (!into.contains(key)) into[key] = value;
}

void complete_variables(json& config, const json& container) {
  if (is_empty(container, "Env")) return;
  json& into = config["Env"];
  if (!into.is_array()) into = json::array();
  for (const json& variable : container.at("Env")) {
    const std::string key = key_of(variable);
    const bool named = std::any_of(into.begin(), into.end(),
                                   [&](const json& other) { return key_of(other) == key; });
    if (!named) into.push_back(variable);
  }
}

void complete_health_check(json& config, const json& container) {
  if (is_empty(container, "Healthcheck")) return;
  json& into = config["Healthcheck"];
  if (!into.is_object()) into = json::object();
  for (const auto& [key, value] : container.at("Healthcheck").items())
    if (!into.contains(key) || into[key].is_null() || into[key] == 0 ||
        (into[key].is_array() && into[key].empty()))
      into[key] = value;
}

void complete(json& config, const json& container) {
  for (const char* field : {"User", "WorkingDir", "StopSignal"})
    take_if_empty(config, container, field);
  for (const char* field : {"ExposedPorts", "Labels"}) complete_object(config, container, field);
  if (is_empty(config, "Labels")) config["Labels"] = json::object();
  complete_object(config, container, "Volumes");
  complete_variables(config, container);
  // The container's arguments are those of its own entrypoint.
  if (is_empty(config, "Entrypoint")) {
    take_if_empty(config, container, "Cmd");
    if (!config.contains("Entrypoint")) take_if_empty(config, container, "Entrypoint");
  }
  complete_health_check(config, container);
}

}  // namespace

Result<json> commit_config(const json& container, const json& body,
                           const std::vector<std::string>& changes) {
  if (!body.is_null() && !body.is_object())
    return Error{Code::kInvalidArgument, "invalid JSON: the configuration must be an object"};
  if (body.is_object()) RETURN_IF_ERROR(check_known(body));
  const json own = image_fields(container);
  json config = body.is_null() ? own : image_fields(body);
  RETURN_IF_ERROR(check(config));
  auto changed = images::apply_changes(std::move(config), changes);
  if (!changed) return changed;
  complete(*changed, own);
  return changed;
}

}  // namespace engine
