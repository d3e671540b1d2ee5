// BuildArguments: the values of ARG: what the client gave, what the Dockerfile has by default, and
// in which part of it each may be used.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace dockerfile {

class BuildArguments {
 public:
  using Values = std::map<std::string, std::optional<std::string>>;

  /// `given`: the client's; without a value: named by it, but not set.
  explicit BuildArguments(Values given) : given_(std::move(given)) {}

  /// ARG in front of the first FROM.
  void declare_global(std::string name, std::optional<std::string> value);
  /// ARG in a stage.
  void declare(std::string name, std::optional<std::string> value);
  /// The stage is over.
  void end_stage() { declared_.clear(); }

  /// "NAME=value" of those that FROM may use.
  std::vector<std::string> for_from() const;
  /// "NAME=value" of those that are usable here and not set in `environment`, by name.
  std::vector<std::string> beside(const std::vector<std::string>& environment) const;
  /// Whether it is told in the history; the proxies are not, unless they are declared.
  bool is_told(std::string_view name) const;
  /// Those that the client gave and no ARG has named.
  std::vector<std::string> unused() const;

 private:
  std::optional<std::string> value_of(const std::string& name, const Values& declared) const;
  std::vector<std::string> all_of(const Values& declared) const;

  Values given_;
  Values global_;
  Values declared_;
  std::set<std::string, std::less<>> named_;
};

}  // namespace dockerfile
