#include "images/policy/strict_json.h"

namespace images {

using nlohmann::json;

namespace {

constexpr int kMaxDepth = 16;

base::Error invalid(std::string why) { return {base::Code::kInvalidArgument, std::move(why)}; }

const json& empty_object() {
  static const json object = json::object();
  return object;
}

/// Called for each step of the parser; remembers the first thing that is not allowed.
class Checker {
 public:
  bool operator()(int depth, json::parse_event_t event, const json& parsed) {
    using Event = json::parse_event_t;
    if (depth > kMaxDepth) fail("nested too deeply");
    if (event == Event::object_start) keys_.emplace_back();
    if (event == Event::object_end && !keys_.empty()) keys_.pop_back();
    if (event == Event::key && !keys_.empty()) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!keys_.back().insert(key).second) fail("Duplicate key \"" + key + "\"");
    }
    return true;
  }
  const std::optional<base::Error>& error() const { return error_; }

 private:
  void fail(std::string why) {
    if (!error_) error_ = invalid(std::move(why));
  }

  std::vector<std::set<std::string>> keys_;  // of the objects that are open
  std::optional<base::Error> error_;
};

}  // namespace

base::Result<json> parse_strict_json(std::string_view text, std::size_t max_bytes) {
  if (text.size() > max_bytes)
    return invalid("larger than " + std::to_string(max_bytes) + " bytes");
  Checker checker;
  json parsed = json::parse(
      text.begin(), text.end(),
      [&](int depth, json::parse_event_t event, json& value) {
        return checker(depth, event, value);
      },
      false);
  if (checker.error()) return *checker.error();
  if (parsed.is_discarded()) return invalid("invalid JSON");
  if (!parsed.is_object()) return invalid("not a JSON object");
  return parsed;
}

StrictObject::StrictObject(const json& value, std::string where)
    : value_(value), where_(std::move(where)) {
  if (!value_.is_object()) fail("is not a JSON object");
}

void StrictObject::fail(std::string why) {
  if (!error_) error_ = invalid(where_ + ": " + std::move(why));
}

const json* StrictObject::find(const char* key) {
  asked_.insert(key);
  if (!value_.is_object()) return nullptr;
  const auto found = value_.find(key);
  return found == value_.end() ? nullptr : &*found;
}

const json& StrictObject::need(const char* key) {
  if (const json* found = find(key)) return *found;
  fail("Key \"" + std::string(key) + "\" is missing");
  return empty_object();
}

std::optional<std::string> StrictObject::text(const char* key) {
  const json* found = find(key);
  if (!found) return std::nullopt;
  if (found->is_string() && !found->get_ref<const std::string&>().empty())
    return found->get<std::string>();
  fail("\"" + std::string(key) + "\" is not a string, or empty");
  return std::nullopt;
}

std::string StrictObject::need_text(const char* key) {
  (void)need(key);
  return text(key).value_or(std::string());
}

std::vector<std::string> StrictObject::texts(const char* key) {
  std::vector<std::string> all;
  const json* found = find(key);
  if (!found) return all;
  if (!found->is_array() || found->empty()) {
    fail("\"" + std::string(key) + "\" is not a list, or empty");
    return all;
  }
  for (const json& item : *found) {
    if (item.is_string()) {
      all.push_back(item.get<std::string>());
    } else {
      fail("\"" + std::string(key) + "\" is not a list of strings");
    }
  }
  return all;
}

base::Result<void> StrictObject::done() {
  if (!error_)
    for (const auto& [key, unused] : value_.items())
      if (!asked_.contains(key)) fail("Unknown key \"" + key + "\"");
  if (error_) return *error_;
  return {};
}

}  // namespace images
