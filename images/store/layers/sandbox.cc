#include "images/store/layers/sandbox.h"

#include <seccomp.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>

#include "images/store/layers/layer_messages.h"
#include "vmm/base/scope_exit.h"
#include "vmm/base/units.h"
#include "vmm/sandbox/sandbox.h"

namespace images {

namespace {

using base::operator""_GiB;

constexpr uid_t kNobody = 65534;
constexpr rlim_t kMaxCpuSeconds = 3600;

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CONTAINERVM_SANITIZED
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define CONTAINERVM_SANITIZED
#endif
#ifdef CONTAINERVM_SANITIZED
constexpr bool kSanitized = true;  // its shadow memory is terabytes of address space
#else
constexpr bool kSanitized = false;
#endif

base::Result<void> limit(__rlimit_resource resource, rlim_t value) {
  const rlimit wanted{value, value};
  if (::setrlimit(resource, &wanted) < 0) return base::errno_error("setrlimit");
  return {};
}

base::Result<void> set_limits(std::uint64_t file_bytes) {
  RETURN_IF_ERROR(limit(RLIMIT_CORE, 0));
  RETURN_IF_ERROR(limit(RLIMIT_FSIZE, file_bytes));
  RETURN_IF_ERROR(limit(RLIMIT_CPU, kMaxCpuSeconds));
  if (!kSanitized) RETURN_IF_ERROR(limit(RLIMIT_AS, 2_GiB));
  std::signal(SIGXFSZ, SIG_IGN);  // a write past the limit fails with EFBIG
  return {};
}

base::Result<void> filter_system_calls() {
  scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
  if (!filter) return base::Error{base::Code::kInternal, "seccomp_init failed"};
  base::ScopeExit release([&] { seccomp_release(filter); });
  constexpr int kAllowed[] = {
      SCMP_SYS(read),         SCMP_SYS(write),          SCMP_SYS(pread64),    SCMP_SYS(pwrite64),
      SCMP_SYS(lseek),        SCMP_SYS(ftruncate),      SCMP_SYS(munmap),     SCMP_SYS(mremap),
      SCMP_SYS(brk),          SCMP_SYS(madvise),        SCMP_SYS(futex),      SCMP_SYS(exit),
      SCMP_SYS(exit_group),   SCMP_SYS(clock_gettime),  SCMP_SYS(getpid),     SCMP_SYS(gettid),
      SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigprocmask), SCMP_SYS(newfstatat), SCMP_SYS(fstat),
  };
  for (const int call : kAllowed)
    if (const int error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0); error < 0)
      return base::errno_error("seccomp_rule_add", -error);
  if (kSanitized)  // UBSan asks the kernel whether memory can be read, through a pipe
    for (const int call : {SCMP_SYS(pipe2), SCMP_SYS(close)})
      if (const int error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0); error < 0)
        return base::errno_error("seccomp_rule_add", -error);
  // Memory, but none that can be executed.
  for (const int call : {SCMP_SYS(mmap), SCMP_SYS(mprotect)})
    if (const int error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 1,
                                           scmp_arg_cmp{2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0});
        error < 0)
      return base::errno_error("seccomp_rule_add", -error);
  // abort() may say so to itself.
  if (const int error =
          seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
                           scmp_arg_cmp{0, SCMP_CMP_EQ, static_cast<scmp_datum_t>(::getpid()), 0});
      error < 0)
    return base::errno_error("seccomp_rule_add", -error);
  if (const int error = seccomp_load(filter); error < 0)
    return base::errno_error("seccomp_load", -error);
  return {};
}

}  // namespace

base::Result<void> enter_sandbox(std::uint64_t file_bytes) {
  RETURN_IF_ERROR(set_limits(file_bytes));
  sandbox::Settings settings;
  settings.descriptors = {kLayerImageFd, kLayerRecipeFd};
  settings.own_user_namespace = true;
  if (::geteuid() == 0) settings.identity = sandbox::Identity{kNobody, kNobody};
  RETURN_IF_ERROR(sandbox::confine(std::move(settings)));
  return filter_system_calls();
}

}  // namespace images
