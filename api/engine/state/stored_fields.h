// StoredFields: reads JSON that this program, or an older or a newer one, has put into its
// database.
//
// A field that is absent leaves the value as it was: the row is older than the field. One that is
// there and is not what the value can hold makes the object damaged, and the value stays as it was,
// too: so as much as can be read is read, and what is wrong is told once. Nothing throws.
// Threads: any. Trust: the file is the daemon's own, but disks and people change files.
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>

namespace engine {

/// What could be read of a stored value.
template <typename T>
struct Stored {
  T value{};
  std::string damage = {};  // the first thing that is wrong; empty: nothing is
};

/// Parses a stored text; null if it is no JSON.
nlohmann::json stored_json(std::string_view text);

class StoredFields {
 public:
  /// `object` outlives this. `where`: what damage() calls it, "state.endpoint".
  StoredFields(const nlohmann::json& object, std::string where);

  /// Every row has these: one without them is damaged.
  void need(std::initializer_list<const char*> fields);

  void read(const char* field, bool& into);
  void read(const char* field, std::string& into);
  /// An object of texts.
  void read(const char* field, std::map<std::string, std::string>& into);
  /// A number from `least` to `most`.
  template <std::integral T>
  void read(const char* field, T& into, T least = std::numeric_limits<T>::min(),
            T most = std::numeric_limits<T>::max()) {
    const nlohmann::json* const value = find(field);
    if (value == nullptr) return;
    if (value->is_number_unsigned()) {
      store(field, value->get<std::uint64_t>(), into, least, most);
    } else if (value->is_number_integer()) {
      store(field, value->get<std::int64_t>(), into, least, most);
    } else {
      complain(field, "is not an integer");
    }
  }

  /// Null if the field is absent.
  const nlohmann::json* find(const char* field) const;
  /// `what` is wrong with the field: "is not an integer".
  void complain(std::string_view field, std::string_view what);
  /// Takes note of damage inside of a field's value, told in whole.
  void take_damage(std::string damage);
  const std::string& damage() const { return damage_; }

 private:
  template <typename From, typename T>
  void store(const char* field, From value, T& into, T least, T most) {
    if (std::cmp_less(value, least) || std::cmp_greater(value, most))
      return complain(field, "is out of its range");
    into = static_cast<T>(value);
  }

  const nlohmann::json& object_;
  const std::string where_;
  std::string damage_;
};

/// Calls `read(element, where)` for each element of a stored list; it returns what is wrong with
/// that one, or nothing. The first thing that is wrong with the list or an element.
template <typename Read>
std::string read_each(const nlohmann::json& list, const std::string& where, Read read) {
  if (!list.is_array()) return where + " is not a list";
  std::string damage;
  for (std::size_t i = 0; i < list.size(); ++i) {
    std::string wrong = read(list[i], where + "[" + std::to_string(i) + "]");
    if (damage.empty()) damage = std::move(wrong);
  }
  return damage;
}

}  // namespace engine
