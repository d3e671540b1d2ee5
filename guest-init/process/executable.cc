#include "guest-init/process/executable.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace guest_init {
namespace {

std::string quoted(const std::string& text) { return "exec: \"" + text + "\": "; }

/// 0 if `path` is a file this process may execute, else why not.
int executable_errno(const std::string& path) {
  struct stat status {};
  if (stat(path.c_str(), &status) != 0) return errno;
  if (S_ISDIR(status.st_mode)) return EISDIR;
  // An execute bit must be set even for root, and the credentials must allow it.
  if ((status.st_mode & 0111) == 0) return EACCES;
  return faccessat(AT_FDCWD, path.c_str(), X_OK, AT_EACCESS) == 0 ? 0 : errno;
}

ExecutableError explain(const std::string& command, int error) {
  using protocol::FailureKind;
  if (error == EISDIR)
    return {FailureKind::kNotExecutable, error, quoted(command) + "is a directory"};
  if (error == EACCES || error == EPERM)
    return {FailureKind::kNotExecutable, error, quoted(command) + "permission denied"};
  std::string reason = std::strerror(error);
  if (error == ENOENT) reason = "no such file or directory";
  if (error == ENOTDIR) reason = "not a directory";
  return {FailureKind::kExecutableNotFound, error,
          quoted(command) + "stat " + command + ": " + reason};
}

}  // namespace

const char* environment_value(const std::vector<std::string>& environment, std::string_view key) {
  for (const std::string& entry : environment)
    if (entry.size() > key.size() && entry.starts_with(key) && entry[key.size()] == '=')
      return entry.c_str() + key.size() + 1;
  return nullptr;
}

Executable find_executable(const std::string& command, const char* path_variable) {
  if (command.find('/') != std::string::npos) {
    const int error = executable_errno(command);
    if (error == 0) return {command, true, {}};
    return {{}, false, explain(command, error)};
  }
  std::string_view rest = path_variable == nullptr ? "" : path_variable;
  while (!rest.empty() && !command.empty()) {
    const std::size_t end = rest.find(':');
    const std::string_view directory = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    // Relative and empty elements would find files of the working directory: Docker refuses those.
    if (!directory.starts_with('/')) continue;
    std::string path = std::string(directory) + "/" + command;
    if (executable_errno(path) == 0) return {std::move(path), true, {}};
  }
  return {{},
          false,
          {protocol::FailureKind::kExecutableNotFound, ENOENT,
           quoted(command) + "executable file not found in $PATH"}};
}

}  // namespace guest_init
