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
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <span>
#include <string_view>
#include <utility>

#include "sandbox_filters.h"

namespace sandbox {
namespace {

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

/// In a user namespace of its own a process cannot change its identity any more. So it does that
/// before, and keeps the capabilities that making namespaces needs.
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
  // First, as it belongs to the user namespace that is left.
  if (network_namespace && ::setns(network_namespace.get(), CLONE_NEWNET) != 0)
    return base::errno_error("join the network namespace");
  if (::unshare(flags) != 0) return base::errno_error("unshare");
  return {};
}

/// In a child: writes that everybody is himself, for the process whose directory in /proc `process`
/// is. Returns an errno.
int map_everybody_of(int process) {
  for (const char* const map : {"uid_map", "gid_map"}) {
    constexpr std::string_view kEverybody = "0 0 4294967295";
    const base::UniqueFd file(::openat(process, map, O_WRONLY | O_CLOEXEC));
    if (!file || ::write(file.get(), kEverybody.data(), kEverybody.size()) < 0) return errno;
  }
  return 0;
}

/// Waits for a child; its exit status is an errno.
base::Result<void> reap(pid_t child) {
  int status = 0;
  while (::waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return base::errno_error("waiting for a child");
  if (!WIFEXITED(status)) return base::Error{base::Code::kInternal, "a child was killed"};
  if (WEXITSTATUS(status) != 0)
    return base::errno_error("mapping users and groups", WEXITSTATUS(status));
  return {};
}

/// Calls `make`, which makes a user namespace for this process, and maps everybody in it. Only one
/// that has stayed outside may do that: a child, which waits until the namespace is there.
template <typename Make>
base::Result<void> make_with_everybody_mapped(Make make) {
  if (::setgroups(0, nullptr) != 0) return base::errno_error("giving up groups");
  const base::UniqueFd self(::open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC));
  std::array<int, 2> ends{};
  if (!self || ::pipe2(ends.data(), O_CLOEXEC) != 0) return base::errno_error("user namespace");
  const base::UniqueFd waits(ends[0]);
  base::UniqueFd tells(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return base::errno_error("fork");
  if (child == 0) {
    char made = 0;
    tells.reset();
    ::_exit(::read(waits.get(), &made, 1) == 1 ? map_everybody_of(self.get()) : ECANCELED);
  }
  auto result = make();
  if (result && ::write(tells.get(), "", 1) != 1) result = base::errno_error("write");
  tells.reset();
  auto mapped = reap(child);
  return result ? std::move(mapped) : std::move(result);
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

bool holds(const std::vector<int>& capabilities, unsigned long capability) {
  return std::find(capabilities.begin(), capabilities.end(), static_cast<int>(capability)) !=
         capabilities.end();
}

/// No program that this process could ever execute gains a capability, whoever it belongs to: the
/// bounding set has none but those that are kept, and being root means nothing. Must come before
/// the capabilities go.
base::Result<void> give_up_gaining_capabilities(const std::vector<int>& kept) {
  constexpr unsigned long kBits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
                                  SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |
                                  SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;
  // Goes up to the last one that the running kernel knows, which may be newer than its headers
  // here.
  for (unsigned long capability = 0; ::prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0;
       ++capability)
    if (!holds(kept, capability) && ::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0)
      return base::errno_error("emptying the bounding set");
  if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0)
    return base::errno_error("emptying the ambient set");
  if (::prctl(PR_SET_SECUREBITS, kBits, 0, 0, 0) != 0)
    return base::errno_error("setting securebits");
  return {};
}

base::Result<void> keep_capabilities(const std::vector<int>& kept) {
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3]{};
  for (const int capability : kept) {
    const auto number = static_cast<unsigned>(capability);
    data[CAP_TO_INDEX(number)].permitted |= CAP_TO_MASK(number);
    data[CAP_TO_INDEX(number)].effective |= CAP_TO_MASK(number);
  }
  return set_capabilities(data);
}

base::Result<void> drop_privileges(const std::optional<Identity>& identity,
                                   const std::vector<int>& capabilities) {
  RETURN_IF_ERROR(give_up_gaining_capabilities(capabilities));
  if (identity) RETURN_IF_ERROR(change_identity(*identity));
  RETURN_IF_ERROR(keep_capabilities(capabilities));
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return base::errno_error("no_new_privs");
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return base::errno_error("dumpable");
  return {};
}

/// The limit that it was given, if `most` is 0.
base::Result<void> limit_descriptors(rlim_t most) {
  if (most != 0) return set_limit(RLIMIT_NOFILE, most);
  rlimit given{};
  if (::getrlimit(RLIMIT_NOFILE, &given) != 0) return base::errno_error("getrlimit");
  return set_limit(RLIMIT_NOFILE, given.rlim_max);
}

/// The namespaces, with the identity changed before if it cannot be changed in them.
base::Result<void> enter_namespaces(Settings& settings) {
  const bool root = ::geteuid() == 0;
  const auto make = [&](bool own_user_namespace) {
    return make_namespaces(settings.network_namespace, own_user_namespace);
  };
  if (settings.map_everybody) return make_with_everybody_mapped([&] { return make(true); });
  const bool own_user_namespace = settings.own_user_namespace || !root;
  if (own_user_namespace && settings.identity && root)
    RETURN_IF_ERROR(change_identity_early(*std::exchange(settings.identity, std::nullopt)));
  return make(own_user_namespace);
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
  RETURN_IF_ERROR(enter_namespaces(settings));
  settings.network_namespace.reset();
  RETURN_IF_ERROR(close_others(std::move(settings.descriptors)));
  RETURN_IF_ERROR(make_root_empty());
  RETURN_IF_ERROR(set_limit(RLIMIT_CORE, 0));
  RETURN_IF_ERROR(set_limit(RLIMIT_MEMLOCK, 0));
  RETURN_IF_ERROR(limit_descriptors(settings.most_descriptors));
  return drop_privileges(settings.identity, settings.capabilities);
}

base::Result<void> enter(Settings settings) {
  RETURN_IF_ERROR(confine(std::move(settings)));
  return install(kProcessFilter);
}

base::Result<void> restrict_device_thread() { return install(kDeviceFilter); }

base::Result<void> restrict_saving_device_thread() { return install(kSavingFilter); }

base::Result<void> restrict_disk_thread() { return install(kDiskFilter); }

base::Result<void> restrict_vcpu_thread() { return install(kVcpuFilter); }

base::Result<void> restrict_file_server_thread() { return install(kFileServerFilter); }

}  // namespace sandbox
