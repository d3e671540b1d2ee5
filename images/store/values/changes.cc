#include "images/store/values/changes.h"

#include <string>
#include <string_view>

#include "images/dockerfile/config_changes.h"
#include "images/dockerfile/text.h"

namespace images {

using dockerfile::Kind;
using nlohmann::json;

namespace {

/// Whether `docker commit -c` and `docker import -c` take the instruction; Docker refuses the
/// others.
bool can_be_changed(Kind kind) {
  switch (kind) {
    case Kind::kCmd:
    case Kind::kEntrypoint:
    case Kind::kEnv:
    case Kind::kExpose:
    case Kind::kHealthcheck:
    case Kind::kLabel:
    case Kind::kOnBuild:
    case Kind::kStopSignal:
    case Kind::kUser:
    case Kind::kVolume:
    case Kind::kWorkdir:
      return true;
    default:
      return false;
  }
}

/// The error shows the keyword as it was written.
base::Error not_valid(std::string_view change) {
  const std::string_view text = dockerfile::trim(change);
  const std::string keyword(text.substr(0, text.find_first_of(" \t")));
  return {base::Code::kInvalidArgument, keyword + " is not a valid change command"};
}

}  // namespace

base::Result<json> apply_changes(json config, const std::vector<std::string>& changes) {
  dockerfile::ConfigChanges applied;
  for (const std::string& change : changes) {
    if (dockerfile::trim(change).empty()) continue;
    const auto statement = dockerfile::parse_statement(change);
    if (!statement) return statement.error();
    auto instruction = dockerfile::check(*statement);
    if (!instruction) {
      // One that Docker does not know and one that is no change are refused alike.
      if (instruction.error().message.starts_with("unknown instruction")) return not_valid(change);
      return std::move(instruction).error();
    }
    if (!can_be_changed(instruction->kind)) return not_valid(change);
    auto expanded =
        dockerfile::expanded(*std::move(instruction), '\\', dockerfile::strings_of(config, "Env"));
    if (!expanded) return std::move(expanded).error();
    const auto said = applied.apply(*expanded, config);
    if (!said) return said.error();
  }
  // An ENTRYPOINT has set "Cmd" to null; the result has no "Cmd" then.
  if (const auto command = config.find("Cmd"); command != config.end() && command->is_null())
    config.erase(command);
  return config;
}

}  // namespace images
