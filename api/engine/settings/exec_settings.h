// ExecSettings: what a further process in a container is to be, as its client wants it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace engine {

struct ExecSettings {
  std::vector<std::string> command;
  std::vector<std::string> env;  // added to the container's
  std::string user;              // empty: the container's
  std::string working_dir;       // empty: the container's
  std::string detach_keys;
  bool tty = false;
  bool attach_stdin = false;
  bool attach_stdout = false;
  bool attach_stderr = false;
  bool privileged = false;
  std::uint16_t rows = 0;  // of its terminal; 0: the start says it
  std::uint16_t columns = 0;
};

}  // namespace engine
