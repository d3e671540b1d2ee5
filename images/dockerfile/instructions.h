// Instructions: checks the statements of a Dockerfile (parser.h) and divides them into stages.
//
// config_changes.h has what an instruction does to an image's configuration. Pure functions.
// Errors: kInvalidArgument, in the classic builder's words; those of a stage name the line.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "images/dockerfile/parser.h"
#include "vmm/base/result.h"

namespace dockerfile {

enum class Kind {
  kAdd,
  kArg,
  kCmd,
  kCopy,
  kEntrypoint,
  kEnv,
  kExpose,
  kFrom,
  kHealthcheck,
  kLabel,
  kMaintainer,
  kOnBuild,
  kRun,
  kShell,
  kStopSignal,
  kUser,
  kVolume,
  kWorkdir
};

struct Instruction {
  Kind kind = Kind::kRun;
  int line = 0;
  std::string text;                          // as "Step 1/2 : " shows it
  std::vector<std::string> arguments;        // as Statement::arguments; ONBUILD: the trigger
  std::map<std::string, std::string> flags;  // "from" -> "x"
  bool exec_form = false;
  bool expands = true;  // false: the arguments are taken as they are

  std::string flag(std::string_view name) const;
};

struct Stage {
  std::string base;
  std::string name;  // in lower case; may be empty
  std::string platform;
  std::string text;
  std::vector<Instruction> instructions;
};

struct Dockerfile {
  std::vector<Instruction> arguments;  // ARG in front of the first FROM
  std::vector<Stage> stages;
  char escape = '\\';
  std::vector<std::string> warnings;
};

base::Result<Instruction> check(const Statement& statement);
base::Result<Dockerfile> stages_of(const ParsedFile& file);

/// The stage that `--target` names.
std::optional<std::size_t> find_stage(const std::vector<Stage>& stages, std::string_view name);

/// "LABEL name=value", of the client's --label.
Instruction label_of(const std::string& name, const std::string& value);

}  // namespace dockerfile
