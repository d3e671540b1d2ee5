#include "vmm/fileserver/files/caller.h"

#include <linux/securebits.h>
#include <sched.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <utility>

namespace fileserver {
namespace {

constexpr auto kNobody = static_cast<uid_t>(-1);  // asks who one is, instead of changing it

// glibc has no others, but its setuid() family tells all threads.
uid_t set_file_user(uid_t user) { return static_cast<uid_t>(::syscall(SYS_setfsuid, user)); }
gid_t set_file_group(gid_t group) { return static_cast<gid_t>(::syscall(SYS_setfsgid, group)); }

base::Result<void> keep_capabilities() {
  const int bits = ::prctl(PR_GET_SECUREBITS, 0, 0, 0, 0);
  if (bits < 0) return base::errno_error("reading securebits");
  if ((bits & SECBIT_NO_SETUID_FIXUP) != 0) return {};
  const auto wanted = static_cast<unsigned long>(bits | SECBIT_NO_SETUID_FIXUP);
  if (::prctl(PR_SET_SECUREBITS, wanted, 0, 0, 0) != 0)
    return base::errno_error("setting securebits");
  return {};
}

}  // namespace

base::Result<void> prepare_thread(int descriptors) {
  if (::unshare(CLONE_FS) != 0) return base::errno_error("unshare");
  if (::fchdir(descriptors) != 0) return base::errno_error("fchdir");
  ::umask(0);
  return keep_capabilities();
}

Answer<Identity> Identity::of(const Caller& caller) {
  Identity identity;
  set_file_group(caller.gid);
  set_file_user(caller.uid);
  // The calls do not say whether they have done it.
  const bool became = set_file_group(kNobody) == caller.gid && set_file_user(kNobody) == caller.uid;
  if (!became || caller.uid == kNobody || caller.gid == kNobody) return Errno{EPERM};
  ::umask(caller.umask & 0777);
  return identity;
}

Identity::Identity(Identity&& other) noexcept : taken_(std::exchange(other.taken_, false)) {}

Identity::~Identity() {
  if (!taken_) return;
  ::umask(0);
  set_file_user(::geteuid());
  set_file_group(::getegid());
  // Going on as somebody else would give away what is made next.
  if (set_file_user(kNobody) != ::geteuid() || set_file_group(kNobody) != ::getegid()) std::abort();
}

}  // namespace fileserver
