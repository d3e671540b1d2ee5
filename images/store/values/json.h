// Bounded parsing and typed access for JSON that others wrote.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/base/result.h"

namespace images {

/// Parses at most kMaxConfigBytes of JSON, nested at most 32 deep, that is an object or a list.
base::Result<nlohmann::json> parse_json(std::string_view text, std::string_view what);

/// Reads members of an object. A member that is absent or null gives the default; one of a wrong
/// type makes ok() false. Keys compare without regard to case where the exact one is absent, as
/// Go's decoder does.
class JsonObject {
 public:
  explicit JsonObject(const nlohmann::json& object) : object_(object), ok_(object.is_object()) {}

  bool ok() const { return ok_; }
  const nlohmann::json* find(std::string_view key);

  std::string text(std::string_view key);
  std::int64_t integer(std::string_view key);
  bool boolean(std::string_view key);
  std::vector<std::string> texts(std::string_view key);
  std::set<std::string> keys(std::string_view key);  // of an object-valued member
  std::map<std::string, std::string> text_map(std::string_view key);
  /// The elements of a list of objects.
  std::vector<const nlohmann::json*> objects(std::string_view key);

 private:
  const nlohmann::json& object_;
  bool ok_;
};

}  // namespace images
