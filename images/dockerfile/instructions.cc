#include "images/dockerfile/instructions.h"

#include <algorithm>
#include <charconv>
#include <numeric>

#include "images/dockerfile/text.h"
#include "vmm/base/letters.h"

namespace dockerfile {

using base::Code;
using base::Error;
using base::Result;

namespace {

Error wrong(std::string message) { return {Code::kInvalidArgument, std::move(message)}; }

struct Rule {
  std::string_view keyword;
  Kind kind;
  std::vector<std::string_view> flags;
};

const std::vector<Rule>& rules() {
  static const std::vector<Rule> kRules{
      {"add", Kind::kAdd, {"chown", "chmod"}},
      {"arg", Kind::kArg, {}},
      {"cmd", Kind::kCmd, {}},
      {"copy", Kind::kCopy, {"chown", "from", "chmod"}},
      {"entrypoint", Kind::kEntrypoint, {}},
      {"env", Kind::kEnv, {}},
      {"expose", Kind::kExpose, {}},
      {"from", Kind::kFrom, {"platform"}},
      {"healthcheck",
       Kind::kHealthcheck,
       {"interval", "timeout", "start-period", "start-interval", "retries"}},
      {"label", Kind::kLabel, {}},
      {"maintainer", Kind::kMaintainer, {}},
      {"onbuild", Kind::kOnBuild, {}},
      {"run", Kind::kRun, {"mount", "network", "security"}},
      {"shell", Kind::kShell, {}},
      {"stopsignal", Kind::kStopSignal, {}},
      {"user", Kind::kUser, {}},
      {"volume", Kind::kVolume, {}},
      {"workdir", Kind::kWorkdir, {}}};
  return kRules;
}

/// How many letters must be added, removed or changed to make `a` of `b` (Levenshtein's distance).
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t changed = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({changed, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

/// What may have been meant by `word`, for an error; empty if nothing is close to it.
std::string did_you_mean(std::string_view word, const std::vector<std::string_view>& known) {
  constexpr std::size_t kLongest = 32;  // longer than all that is known
  constexpr std::size_t kTooFar = 3;
  if (word.size() > kLongest) return {};
  std::string_view closest;
  std::size_t least = kTooFar;
  for (const std::string_view one : known)
    if (const std::size_t far = distance(word, one); far < least) {
      closest = one;
      least = far;
    }
  return closest.empty() ? std::string() : " (did you mean " + std::string(closest) + "?)";
}

/// With the one that may have been meant, in upper case if that is how the word was written.
Error unknown_instruction(const Statement& statement) {
  const std::string_view text = trim(statement.text);
  const std::string_view written = text.substr(0, statement.keyword.size());
  const bool upper = written == upper_case(written);
  std::vector<std::string> names;
  for (const Rule& rule : rules())
    names.push_back(upper ? upper_case(rule.keyword) : std::string(rule.keyword));
  const std::string word = upper ? std::string(written) : statement.keyword;
  return wrong("unknown instruction: " + std::string(written) +
               did_you_mean(word, {names.begin(), names.end()}));
}

Result<void> take_flags(const Statement& statement, const Rule& rule, Instruction& instruction) {
  for (const std::string& flag : statement.flags) {
    const std::size_t equals = std::min(flag.find('='), flag.size());
    const std::string name = flag.substr(2, equals - 2);
    const auto known = std::find(rule.flags.begin(), rule.flags.end(), name);
    if (known == rule.flags.end())
      return wrong("unknown flag: --" + name + did_you_mean(name, rule.flags));
    // RUN takes --mount several times; all that counts is that there is one.
    if (instruction.flags.contains(name) && rule.kind != Kind::kRun)
      return wrong("duplicate flag specified: --" + name);
    if (equals == flag.size()) return wrong("missing a value on flag: --" + name);
    instruction.flags.emplace(name, flag.substr(equals + 1));
  }
  return {};
}

Result<void> check_pairs(const std::string& keyword, const Instruction& instruction) {
  if (instruction.arguments.empty()) return wrong(keyword + " requires at least one argument");
  for (std::size_t i = 0; i < instruction.arguments.size(); i += 2)
    if (instruction.arguments[i].empty()) return wrong(keyword + " names can not be blank");
  return {};
}

Result<void> check_duration(const Instruction& instruction, const char* name) {
  const std::string text = instruction.flag(name);
  if (text.empty()) return {};
  const auto duration = parse_duration(text);
  if (!duration) return wrong("time: invalid duration " + quote(text));
  if (*duration != 0 && *duration < 1'000'000)
    return wrong("Interval " + quote(name) + " cannot be less than 1ms");
  return {};
}

Result<void> check_health(Instruction& instruction) {
  std::vector<std::string>& arguments = instruction.arguments;
  if (arguments.empty()) return wrong("HEALTHCHECK requires at least one argument");
  arguments.front() = upper_case(arguments.front());
  if (arguments.front() == "NONE") {
    if (arguments.size() > 1) return wrong("HEALTHCHECK NONE takes no arguments");
    return {};
  }
  if (arguments.front() != "CMD")
    return wrong("Unknown type " + quote(arguments.front()) + " in HEALTHCHECK (try CMD)");
  if (arguments.size() < 2) return wrong("Missing command after HEALTHCHECK CMD");
  for (const char* name : {"interval", "timeout", "start-period", "start-interval"})
    RETURN_IF_ERROR(check_duration(instruction, name));
  const std::string retries = instruction.flag("retries");
  if (retries.empty()) return {};
  std::int32_t count = 0;
  const char* const last = retries.data() + retries.size();
  const char* const digits = retries.data() + (retries.starts_with('+') ? 1 : 0);
  const auto [end, error] = std::from_chars(digits, last, count);
  if (end == last && error == std::errc::result_out_of_range)
    return wrong("strconv.ParseInt: parsing " + quote(retries) + ": value out of range");
  if (error != std::errc() || end != last || retries.starts_with("+-"))
    return wrong("strconv.ParseInt: parsing " + quote(retries) + ": invalid syntax");
  if (count < 0) return wrong("--retries cannot be negative (" + std::to_string(count) + ")");
  return {};
}

Result<void> check_trigger(const Statement& statement, Instruction& instruction) {
  if (instruction.arguments.empty()) return wrong("ONBUILD requires at least one argument");
  const std::string trigger = upper_case(instruction.arguments.front());
  if (trigger == "ONBUILD") return wrong("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
  if (trigger == "MAINTAINER" || trigger == "FROM")
    return wrong(trigger + " isn't allowed as an ONBUILD trigger");
  instruction.arguments = {statement.rest};
  return {};
}

Result<void> check_argument_names(const Instruction& instruction) {
  if (instruction.arguments.empty()) return wrong("ARG requires at least one argument");
  for (const std::string& argument : instruction.arguments)
    if (argument.empty() || argument.starts_with('=')) return wrong("ARG names can not be blank");
  return {};
}

Result<void> check_volumes(Instruction& instruction) {
  if (instruction.arguments.empty()) return wrong("VOLUME requires at least one argument");
  for (std::string& volume : instruction.arguments) {
    volume = trim(volume);
    if (volume.empty()) return wrong("VOLUME specified can not be an empty string");
  }
  return {};
}

Result<void> check_from(const Instruction& instruction) {
  const std::vector<std::string>& arguments = instruction.arguments;
  if (arguments.size() == 1) return {};
  if (arguments.size() != 3 || base::lower_case(arguments[1]) != "as")
    return wrong("FROM requires either one or three arguments");
  const std::string name = base::lower_case(arguments[2]);
  const auto is_letter = [](char c) { return c >= 'a' && c <= 'z'; };
  const bool valid =
      !name.empty() && is_letter(name.front()) &&
      std::all_of(name.begin(), name.end(), [&](char c) {
        return is_letter(c) || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
      });
  if (valid) return {};
  return wrong("invalid name for build stage: " + quote(arguments[2]) +
               ", name can't start with a number or contain symbols");
}

Result<void> check_arguments(const Statement& statement, Instruction& instruction) {
  const std::string keyword = upper_case(statement.keyword);
  switch (instruction.kind) {
    case Kind::kAdd:
    case Kind::kCopy:
      if (instruction.arguments.size() < 2)
        return wrong(keyword + " requires at least two arguments, but only one was provided. " +
                     "Destination could not be determined");
      return {};
    case Kind::kArg:
      return check_argument_names(instruction);
    case Kind::kEnv:
    case Kind::kLabel:
      return check_pairs(keyword, instruction);
    case Kind::kExpose:
      if (instruction.arguments.empty()) return wrong("EXPOSE requires at least one argument");
      std::sort(instruction.arguments.begin(), instruction.arguments.end());
      return {};
    case Kind::kFrom:
      return check_from(instruction);
    case Kind::kHealthcheck:
      return check_health(instruction);
    case Kind::kMaintainer:
    case Kind::kStopSignal:
    case Kind::kUser:
    case Kind::kWorkdir:
      if (instruction.arguments.size() != 1)
        return wrong(keyword + " requires exactly one argument");
      return {};
    case Kind::kOnBuild:
      return check_trigger(statement, instruction);
    case Kind::kShell:
      if (instruction.arguments.empty()) return wrong("SHELL requires at least one argument");
      if (!instruction.exec_form) return wrong("SHELL requires the arguments to be in JSON form");
      return {};
    case Kind::kVolume:
      return check_volumes(instruction);
    case Kind::kCmd:
    case Kind::kEntrypoint:
    case Kind::kRun:
      if (instruction.arguments.empty() && !instruction.exec_form)
        return wrong(keyword + " requires at least one argument");
      return {};
  }
  return {};
}

Stage stage_of(const Instruction& from) {
  return {.base = from.arguments.front(),
          .name = from.arguments.size() == 3 ? base::lower_case(from.arguments[2]) : "",
          .platform = from.flag("platform"),
          .text = from.text,
          .instructions = {}};
}

}  // namespace

std::string Instruction::flag(std::string_view name) const {
  const auto found = flags.find(std::string(name));
  return found == flags.end() ? std::string() : found->second;
}

Result<Instruction> check(const Statement& statement) {
  const auto rule = std::find_if(rules().begin(), rules().end(), [&](const Rule& known) {
    return known.keyword == statement.keyword;
  });
  if (rule == rules().end()) return unknown_instruction(statement);
  Instruction instruction{.kind = rule->kind,
                          .line = statement.line,
                          .text = std::string(trim(statement.text)),
                          .arguments = statement.arguments,
                          .flags = {},
                          .exec_form = statement.exec_form};
  RETURN_IF_ERROR(take_flags(statement, *rule, instruction));
  RETURN_IF_ERROR(check_arguments(statement, instruction));
  return instruction;
}

Result<Dockerfile> stages_of(const ParsedFile& file) {
  Dockerfile made{.arguments = {}, .stages = {}, .escape = file.escape, .warnings = file.warnings};
  for (const Statement& statement : file.statements) {
    auto instruction = check(statement);
    if (!instruction)
      return base::annotate(std::move(instruction),
                            "dockerfile parse error on line " + std::to_string(statement.line));
    if (instruction->kind == Kind::kFrom) {
      made.stages.push_back(stage_of(*instruction));
    } else if (!made.stages.empty()) {
      made.stages.back().instructions.push_back(*std::move(instruction));
    } else if (instruction->kind == Kind::kArg) {
      made.arguments.push_back(*std::move(instruction));
    } else {
      return wrong("no build stage in current context");
    }
  }
  return made;
}

std::optional<std::size_t> find_stage(const std::vector<Stage>& stages, std::string_view name) {
  const std::string wanted = base::lower_case(name);
  for (std::size_t i = 0; i < stages.size(); ++i)
    if (!wanted.empty() && stages[i].name == wanted) return i;
  return std::nullopt;
}

Instruction label_of(const std::string& name, const std::string& value) {
  return {.kind = Kind::kLabel,
          .line = 0,
          .text = "LABEL " + name + "=" + value,
          .arguments = {name, value},
          .flags = {},
          .exec_form = false,
          .expands = false};
}

}  // namespace dockerfile
