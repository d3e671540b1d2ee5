// SeccompProfile: which system calls a container's processes may make, in Docker's own format.
//
// Trust: the text of a custom profile comes from the client; what is parsed is bounded by the size
// of a request. Names, actions and operators are not judged here but where the profile becomes a
// filter (seccomp_filter.h): rules that do not apply to a container are never looked at, as in
// Docker. Errors: kInternal, because Docker answers a profile that it cannot use with 500 at start.
// Spec: Docker's seccomp profiles; OCI runtime-spec, config-linux, "Seccomp".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/base/result.h"

namespace engine {

struct KernelVersion {
  unsigned kernel = 0;
  unsigned major = 0;
  auto operator<=>(const KernelVersion&) const = default;
};

/// "6.12.117-containervm" -> 6.12; 0.0 if it does not begin like that.
KernelVersion kernel_version_of(std::string_view release);

/// A condition on one argument of a call.
struct SeccompArgument {
  std::uint64_t index = 0;
  std::uint64_t value = 0;
  std::uint64_t value_two = 0;
  std::string op;  // "SCMP_CMP_EQ"
};

/// When a rule is part of a container's filter.
struct SeccompCondition {
  std::vector<std::string> capabilities;   // "CAP_SYS_ADMIN", of the container's bounding set
  std::vector<std::string> architectures;  // "amd64"
  std::optional<KernelVersion> min_kernel;
};

struct SeccompRule {
  std::vector<std::string> names;
  std::string action;  // "SCMP_ACT_ALLOW"
  std::optional<std::uint64_t> errno_return;
  std::vector<SeccompArgument> arguments;
  SeccompCondition includes;  // all of it must hold
  SeccompCondition excludes;  // none of it may hold
};

struct SeccompProfile {
  std::string default_action;
  std::optional<std::uint64_t> default_errno_return;
  std::vector<std::string> architectures;  // "SCMP_ARCH_X86_64"; none: the machine's own only
  std::optional<std::vector<std::string>> flags;
  std::vector<SeccompRule> rules;
};

/// nullopt for a profile that asks for nothing ("{}"): there is no filter then.
base::Result<std::optional<SeccompProfile>> parse_seccomp_profile(std::string_view text);

/// What Docker 28 gives every container that names no profile.
SeccompProfile default_seccomp_profile();

}  // namespace engine
