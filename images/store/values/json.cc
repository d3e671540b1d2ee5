#include "images/store/values/json.h"

#include <strings.h>

#include "images/store/values/image_config.h"

namespace images {

namespace {

constexpr int kMaxDepth = 32;

}  // namespace

base::Result<nlohmann::json> parse_json(std::string_view text, std::string_view what) {
  const auto error = [&](std::string_view why) {
    return base::Error{base::Code::kInvalidArgument, std::string(what) + ": " + std::string(why)};
  };
  if (text.size() > kMaxConfigBytes) return error("too large");
  bool too_deep = false;
  const auto limit_depth = [&](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
    if (depth > kMaxDepth) too_deep = true;
    return depth <= kMaxDepth;
  };
  nlohmann::json parsed = nlohmann::json::parse(text.begin(), text.end(), limit_depth, false);
  if (too_deep) return error("nested too deeply");
  if (parsed.is_discarded()) return error("invalid JSON");
  if (!parsed.is_structured()) return error("not an object");
  return parsed;
}

const nlohmann::json* JsonObject::find(std::string_view key) {
  if (!object_.is_object()) return nullptr;
  const std::string name(key);
  auto found = object_.find(name);
  if (found == object_.end()) {
    for (auto item = object_.begin(); item != object_.end(); ++item)
      if (::strcasecmp(item.key().c_str(), name.c_str()) == 0) found = item;
  }
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

std::string JsonObject::text(std::string_view key) {
  const nlohmann::json* value = find(key);
  if (!value) return {};
  if (value->is_string()) return value->get<std::string>();
  ok_ = false;
  return {};
}

std::int64_t JsonObject::integer(std::string_view key) {
  const nlohmann::json* value = find(key);
  if (!value) return 0;
  if (value->is_number_integer()) return value->get<std::int64_t>();
  ok_ = false;
  return 0;
}

bool JsonObject::boolean(std::string_view key) {
  const nlohmann::json* value = find(key);
  if (!value) return false;
  if (value->is_boolean()) return value->get<bool>();
  ok_ = false;
  return false;
}

std::vector<std::string> JsonObject::texts(std::string_view key) {
  std::vector<std::string> texts;
  const nlohmann::json* value = find(key);
  if (!value) return texts;
  if (!value->is_array()) ok_ = false;
  for (const nlohmann::json& item : *value) {
    if (item.is_string()) {
      texts.push_back(item.get<std::string>());
    } else {
      ok_ = false;
    }
  }
  return texts;
}

std::set<std::string> JsonObject::keys(std::string_view key) {
  std::set<std::string> keys;
  const nlohmann::json* value = find(key);
  if (!value) return keys;
  if (!value->is_object()) {
    ok_ = false;
    return keys;
  }
  for (auto item = value->begin(); item != value->end(); ++item) keys.insert(item.key());
  return keys;
}

std::map<std::string, std::string> JsonObject::text_map(std::string_view key) {
  std::map<std::string, std::string> texts;
  const nlohmann::json* value = find(key);
  if (!value) return texts;
  if (!value->is_object()) {
    ok_ = false;
    return texts;
  }
  for (auto item = value->begin(); item != value->end(); ++item) {
    if (!item->is_string()) ok_ = false;
    texts[item.key()] = item->is_string() ? item->get<std::string>() : std::string();
  }
  return texts;
}

std::vector<const nlohmann::json*> JsonObject::objects(std::string_view key) {
  std::vector<const nlohmann::json*> objects;
  const nlohmann::json* value = find(key);
  if (!value) return objects;
  if (!value->is_array()) ok_ = false;
  for (const nlohmann::json& item : *value) {
    if (!item.is_object()) ok_ = false;
    objects.push_back(&item);
  }
  return objects;
}

}  // namespace images
