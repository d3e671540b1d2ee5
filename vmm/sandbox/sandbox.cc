#include "vmm/sandbox/sandbox.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/mount.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <span>
#include <utility>

#include "sandbox_filters.h"

namespace sandbox {
namespace {

/// Streams, layers, and a few of our own.
constexpr rlim_t kMostDescriptors = 2048;

base::Result<void> set_capabilities(
    const __user_cap_data_struct (&data)[_LINUX_CAPABILITY_U32S_3]) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  if (::syscall(SYS_capset, &header, data) != 0) return base::errno_error("capset");
  return {};
}

base::Result<void> change_identity(const Identity& identity) {
  if (::setgroups(0, nullptr) != 0 || ::setresgid(identity.gid, identity.gid, identity.gid) != 0 ||
      ::setresuid(identity.uid, identity.uid, identity.uid) != 0)
    return base::errno_error("change of identity");
  return {};
}

/// In a user namespace of its own a process cannot change its identity any more: so before, while
/// the capabilities that making namespaces needs are kept.
base::Result<void> change_identity_early(const Identity& identity) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct held[_LINUX_CAPABILITY_U32S_3]{};
  if (::syscall(SYS_capget, &header, held) != 0) return base::errno_error("capget");
  if (::prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0) return base::errno_error("keep capabilities");
  RETURN_IF_ERROR(change_identity(identity));
  RETURN_IF_ERROR(set_capabilities(held));
  if (::prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) != 0) return base::errno_error("keep capabilities");
  return {};
}

base::Result<void> make_namespaces(const base::UniqueFd& network_namespace,
                                   bool own_user_namespace) {
  int flags = CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS;
  if (own_user_namespace) flags |= CLONE_NEWUSER;
  if (!network_namespace) flags |= CLONE_NEWNET;
  if (::unshare(flags) != 0) return base::errno_error("unshare");
  if (network_namespace && ::setns(network_namespace.get(), CLONE_NEWNET) != 0)
    return base::errno_error("join the network namespace");
  return {};
}

/// An empty, read-only file system that is mounted nowhere becomes the root: it needs no directory
/// on the host and goes with the process.
base::Result<void> make_root_empty() {
  const base::UniqueFd context(static_cast<int>(::syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC)));
  if (!context) return base::errno_error("fsopen");
  if (::syscall(SYS_fsconfig, context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0)
    return base::errno_error("fsconfig");
  const base::UniqueFd mount(static_cast<int>(
      ::syscall(SYS_fsmount, context.get(), FSMOUNT_CLOEXEC,
                MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)));
  if (!mount) return base::errno_error("fsmount");
  if (::fchdir(mount.get()) != 0 || ::chroot(".") != 0) return base::errno_error("chroot");
  return {};
}

base::Result<void> close_others(std::vector<int> kept) {
  std::sort(kept.begin(), kept.end());
  unsigned first = STDERR_FILENO + 1;
  for (const int fd : kept) {
    if (fd < static_cast<int>(first)) continue;
    if (static_cast<unsigned>(fd) > first && ::syscall(SYS_close_range, first, fd - 1, 0) != 0)
      return base::errno_error("close_range");
    first = static_cast<unsigned>(fd) + 1;
  }
  if (::syscall(SYS_close_range, first, ~0u, 0) != 0) return base::errno_error("close_range");
  return {};
}

base::Result<void> set_limit(int resource, rlim_t value) {
  const rlimit limit{value, value};
  // (glibc declares the first parameter as an enumeration)
  if (::setrlimit(static_cast<__rlimit_resource>(resource), &limit) != 0)
    return base::errno_error("setrlimit");
  return {};
}

/// No program that this process could ever execute gains a capability, whoever it belongs to: the
/// bounding set is empty, and being root means nothing. Must come before the capabilities go.
base::Result<void> give_up_gaining_capabilities() {
  constexpr unsigned long kBits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
                                  SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |
                                  SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;
  // Up to the last that this kernel knows, which may be newer than its headers here.
  for (unsigned long capability = 0; ::prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0;
       ++capability)
    if (::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0)
      return base::errno_error("bounding set");
  if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0)
    return base::errno_error("ambient set");
  if (::prctl(PR_SET_SECUREBITS, kBits, 0, 0, 0) != 0) return base::errno_error("securebits");
  return {};
}

base::Result<void> drop_privileges(const std::optional<Identity>& identity) {
  RETURN_IF_ERROR(give_up_gaining_capabilities());
  if (identity) RETURN_IF_ERROR(change_identity(*identity));
  RETURN_IF_ERROR(set_capabilities({}));
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return base::errno_error("no_new_privs");
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return base::errno_error("dumpable");
  return {};
}

base::Result<void> install(std::span<const sock_filter> filter) {
  const sock_fprog program{static_cast<unsigned short>(filter.size()),
                           const_cast<sock_filter*>(filter.data())};
  if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0)
    return base::errno_error("seccomp");
  return {};
}

}  // namespace

base::Result<void> confine(Settings settings) {
  const bool root = ::geteuid() == 0;
  const bool own_user_namespace = settings.own_user_namespace || !root;
  if (own_user_namespace && settings.identity && root)
    RETURN_IF_ERROR(change_identity_early(*std::exchange(settings.identity, std::nullopt)));
  RETURN_IF_ERROR(make_namespaces(settings.network_namespace, own_user_namespace));
  settings.network_namespace.reset();
  RETURN_IF_ERROR(close_others(std::move(settings.descriptors)));
  RETURN_IF_ERROR(make_root_empty());
  RETURN_IF_ERROR(set_limit(RLIMIT_CORE, 0));
  RETURN_IF_ERROR(set_limit(RLIMIT_MEMLOCK, 0));
  RETURN_IF_ERROR(set_limit(RLIMIT_NOFILE, kMostDescriptors));
  return drop_privileges(settings.identity);
}

base::Result<void> enter(Settings settings) {
  RETURN_IF_ERROR(confine(std::move(settings)));
  return install(kProcessFilter);
}

base::Result<void> restrict_device_thread() { return install(kDeviceFilter); }

base::Result<void> restrict_saving_device_thread() { return install(kSavingFilter); }

base::Result<void> restrict_disk_thread() { return install(kDiskFilter); }

base::Result<void> restrict_vcpu_thread() { return install(kVcpuFilter); }

}  // namespace sandbox
