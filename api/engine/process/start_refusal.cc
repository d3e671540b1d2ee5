#include "api/engine/process/start_refusal.h"

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>

namespace engine {

namespace {

constexpr std::size_t kMaxGuestText = 1024;

}  // namespace

StartRefusal explain_refusal(const protocol::Failure& failure, const std::string& argv0) {
  const std::string prefix = "unable to start container process: ";
  const std::string quoted = "exec: \"" + argv0 + "\": ";
  switch (failure.kind) {
    case protocol::FailureKind::kExecutableNotFound:
      if (argv0.find('/') == std::string::npos)
        return {prefix + quoted + "executable file not found in $PATH", 127};
      return {prefix + quoted + "stat " + argv0 + ": no such file or directory", 127};
    case protocol::FailureKind::kNotExecutable:
      if (failure.error_number == EISDIR) return {prefix + quoted + "is a directory", 126};
      if (failure.error_number == ENOEXEC) return {prefix + quoted + "exec format error", 126};
      return {prefix + quoted + "permission denied", 126};
    case protocol::FailureKind::kNoSuchUser:
      return {failure.message.substr(0, kMaxGuestText), 126};
    case protocol::FailureKind::kWorkingDirectory:
      return {prefix + failure.message.substr(0, kMaxGuestText), 127};
    default:
      break;
  }
  std::string message = prefix + failure.stage.substr(0, kMaxGuestText) + ": " +
                        failure.message.substr(0, kMaxGuestText);
  if (failure.error_number != 0)
    message += std::string(" (") + std::strerror(failure.error_number) + ")";
  return {std::move(message), 128};
}

}  // namespace engine
