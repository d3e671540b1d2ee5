#include "api/engine/state/stored_fields.h"

#include <algorithm>

namespace engine {

using nlohmann::json;

json stored_json(std::string_view text) {
  json value = json::parse(text, nullptr, /*allow_exceptions=*/false);
  return value.is_discarded() ? json() : value;
}

StoredFields::StoredFields(const json& object, std::string where)
    : object_(object), where_(std::move(where)) {
  if (!object_.is_object()) damage_ = where_ + " is not a JSON object";
}

void StoredFields::need(std::initializer_list<const char*> fields) {
  for (const char* field : fields)
    if (find(field) == nullptr) complain(field, "is missing");
}

void StoredFields::read(const char* field, bool& into) {
  const json* const value = find(field);
  if (value == nullptr) return;
  if (!value->is_boolean()) return complain(field, "is not a boolean");
  into = value->get<bool>();
}

void StoredFields::read(const char* field, std::string& into) {
  const json* const value = find(field);
  if (value == nullptr) return;
  if (!value->is_string()) return complain(field, "is not a text");
  into = value->get<std::string>();
}

void StoredFields::read(const char* field, std::map<std::string, std::string>& into) {
  const json* const value = find(field);
  if (value == nullptr) return;
  const bool typed =
      value->is_object() &&
      std::all_of(value->begin(), value->end(), [](const json& item) { return item.is_string(); });
  if (!typed) return complain(field, "is not an object of texts");
  into = value->get<std::map<std::string, std::string>>();
}

const json* StoredFields::find(const char* field) const {
  if (!object_.is_object()) return nullptr;
  const auto found = object_.find(field);
  return found == object_.end() ? nullptr : &*found;
}

void StoredFields::complain(std::string_view field, std::string_view what) {
  take_damage(where_ + "." + std::string(field) + " " + std::string(what));
}

void StoredFields::take_damage(std::string damage) {
  if (damage_.empty()) damage_ = std::move(damage);
}

}  // namespace engine
