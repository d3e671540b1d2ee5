// SeccompFilter: a profile as the BPF program that a container's kernel runs at every system call.
//
// What runc does: rules that do not apply are left out, names that no architecture has are passed
// over, a call that is newer than every call the profile names fails with ENOSYS instead of the
// default action. Calls that are newer than libseccomp are known by number (seccomp_filter.cc).
//
// What runc does not do: judge a call alike however it is made (seccomp_disguises.h). i386 has
// calls with the arguments behind a pointer, where no filter can look: socketcall and ipc, which
// stand for many, the old mmap and select. Each is judged as the call that it stands for; if a rule
// depends on that call's arguments, as the strictest that any arguments would get. So under
// Docker's profile, which refuses AF_VSOCK, socketcall(SYS_SOCKET) fails with EPERM, and 32-bit
// programs open sockets by the call that is called socket (Linux 4.3). And where the kernel cuts an
// argument to 32 bits, a value that only the cut makes one of the profile's gets the strictest
// answer, too. Threads: any; takes some milliseconds, so not the io_context thread. Trust: the
// profile is the client's. Its rules and the size of the program are bounded. Errors: kInternal,
// with runc's sentences where it has one; kNotSupported for what nobody could answer here
// (SCMP_ACT_NOTIFY, conditions on calls that libseccomp does not know). Spec: seccomp(2), OCI
// runtime-spec.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "api/engine/security/seccomp_profile.h"
#include "vmm/base/result.h"

namespace engine {

struct SeccompFilter {
  std::vector<std::byte> program;  // struct sock_filter, as the kernel takes it
  std::uint32_t flags = 0;         // of SECCOMP_SET_MODE_FILTER
};

/// Where a filter applies.
struct SeccompTarget {
  std::uint64_t capabilities = 0;  // the container's bounding set, bit n = CAP_n
  KernelVersion kernel;
};

inline constexpr std::size_t kMaxSeccompRules = 1024;  // after names and conditions are taken apart

base::Result<SeccompFilter> compile_seccomp_filter(const SeccompProfile& profile,
                                                   const SeccompTarget& target);

}  // namespace engine
