// find_executable(): which file a command names, by Docker's rules: a command with a slash is a
// path, another is looked up in PATH. Trust: both, and the files, are the client's or the image's.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "guest-init/protocol/messages.h"

namespace guest_init {

struct ExecutableError {
  protocol::FailureKind kind = protocol::FailureKind::kExecutableNotFound;
  int error_number = 0;
  std::string message;  // Docker's sentence: exec: "foo": executable file not found in $PATH
};

struct Executable {
  std::string path;
  bool found = false;
  ExecutableError error;  // if not found
};

/// The first value of `key` in "KEY=value" strings; nullptr if there is none.
const char* environment_value(const std::vector<std::string>& environment, std::string_view key);

/// Looks `command` up with the credentials, root and working directory of the calling process.
Executable find_executable(const std::string& command, const char* path_variable);

}  // namespace guest_init
