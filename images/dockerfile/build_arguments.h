// BuildArguments: the values of a build's arguments (ARG): what the client gave, the Dockerfile's
// defaults, and in which part of the Dockerfile each may be used. The build calls it as it goes
// from instruction to instruction. Threads: one.
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

  /// `given`: the client's --build-arg; nullopt: it named the argument without a value.
  explicit BuildArguments(Values given) : given_(std::move(given)) {}

  /// To be called for an ARG in front of the first FROM.
  void declare_global(std::string name, std::optional<std::string> value);
  /// To be called for an ARG in a stage.
  void declare(std::string name, std::optional<std::string> value);
  /// To be called at the end of a stage: its ARGs hold there only.
  void end_stage() { declared_.clear(); }

  /// The arguments that a FROM may use, as "NAME=value".
  std::vector<std::string> for_from() const;
  /// The arguments that an instruction of the present stage may use and that `environment` does not
  /// set, as "NAME=value", by name.
  std::vector<std::string> beside(const std::vector<std::string>& environment) const;
  /// Whether the history shows the argument. It hides proxies, which may have passwords, unless the
  /// stage declares them.
  bool is_told(std::string_view name) const;
  /// The names that the client gave and no ARG has declared, for a warning; no proxies.
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
