// ConfigChanges: what an instruction that needs no container does to an image's configuration (the
// "config" object of its JSON): CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, SHELL,
// STOPSIGNAL, USER, VOLUME, WORKDIR. For builds, and for `docker commit -c` and `docker import -c`.
//
// Threads: one for each object. Errors: kInvalidArgument, in the classic builder's words.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "images/dockerfile/instructions.h"
#include "vmm/base/result.h"

namespace dockerfile {

/// Replaces variables in the arguments of an instruction, if it is one in which a Dockerfile may
/// use them.
base::Result<Instruction> expanded(Instruction instruction, char escape,
                                   const std::vector<std::string>& environment);

class ConfigChanges {
 public:
  /// Applies an expanded instruction to `config`; returns what the history says of it: "ENV A=1".
  base::Result<std::string> apply(const Instruction& instruction, nlohmann::json& config);

 private:
  bool command_set_ = false;  // a CMD was applied, so an ENTRYPOINT keeps the command
};

/// A list of strings of `config`; empty if it is not there.
std::vector<std::string> strings_of(const nlohmann::json& config, const char* field);
/// The image's shell, or /bin/sh -c.
std::vector<std::string> shell_of(const nlohmann::json& config);
/// The words that CMD, ENTRYPOINT or RUN stand for.
std::vector<std::string> command_line(const Instruction& instruction, const nlohmann::json& config);

}  // namespace dockerfile
