#include "guest-init/process/launch.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "guest-init/files/files_tool.h"
#include "guest-init/process/container_init.h"
#include "guest-init/process/executable.h"
#include "guest-init/system/mounts.h"
#include "guest-init/system/text_files.h"

namespace guest_init {
namespace {

using protocol::FailureKind;

constexpr std::size_t kLargestAccountFile = 4u << 20;
constexpr std::uint64_t kAdmin = std::uint64_t{1} << CAP_SYS_ADMIN;
constexpr std::uint32_t kSeccompFlags = SECCOMP_FILTER_FLAG_LOG | SECCOMP_FILTER_FLAG_SPEC_ALLOW;

constexpr std::size_t kLongestReason = 64;

struct NamedLimit {
  const char* name;
  int number;
};
constexpr NamedLimit kLimits[] = {
    {"as", RLIMIT_AS},           {"core", RLIMIT_CORE},         {"cpu", RLIMIT_CPU},
    {"data", RLIMIT_DATA},       {"fsize", RLIMIT_FSIZE},       {"locks", RLIMIT_LOCKS},
    {"memlock", RLIMIT_MEMLOCK}, {"msgqueue", RLIMIT_MSGQUEUE}, {"nice", RLIMIT_NICE},
    {"nofile", RLIMIT_NOFILE},   {"nproc", RLIMIT_NPROC},       {"rss", RLIMIT_RSS},
    {"rtprio", RLIMIT_RTPRIO},   {"rttime", RLIMIT_RTTIME},     {"sigpending", RLIMIT_SIGPENDING},
    {"stack", RLIMIT_STACK},
};

/// The file of the container, or nothing if there is none that can be read.
std::string account_file(const char* path) {
  auto text = read_regular_file(path, kLargestAccountFile);
  return text ? *std::move(text) : std::string();
}

bool set_capabilities(std::uint64_t effective, std::uint64_t permitted) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, 2> data{};
  for (std::size_t i = 0; i < data.size(); ++i) {
    data[i].effective = static_cast<std::uint32_t>(effective >> (32 * i));
    data[i].permitted = static_cast<std::uint32_t>(permitted >> (32 * i));
  }
  return syscall(SYS_capset, &header, data.data()) == 0;
}

/// Takes what is not in `keep` out of the bounding set.
bool bound_capabilities(std::uint64_t keep) {
  for (int capability = 0; capability < 64; ++capability) {
    if ((keep >> capability & 1u) != 0) continue;
    // EINVAL: this kernel has no capability of that number, nor of any larger one.
    if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0) return errno == EINVAL;
  }
  return true;
}

/// The capabilities this kernel knows.
std::uint64_t known_capabilities() {
  std::uint64_t known = 0;
  for (int capability = 0; capability < 64; ++capability) {
    if (prctl(PR_CAPBSET_READ, capability, 0, 0, 0) < 0) break;
    known |= std::uint64_t{1} << capability;
  }
  return known;
}

}  // namespace

base::Result<Terminal> open_terminal(std::uint16_t rows, std::uint16_t columns) {
  Terminal terminal;
  terminal.master.reset(open("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK));
  if (!terminal.master) return base::errno_error("open /dev/pts/ptmx");
  const int unlocked = 0;
  if (ioctl(terminal.master.get(), TIOCSPTLCK, &unlocked) != 0)
    return base::errno_error("unlock the terminal");
  terminal.slave.reset(ioctl(terminal.master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!terminal.slave) return base::errno_error("open the terminal");
  if (rows != 0 && columns != 0)
    RETURN_IF_ERROR(set_terminal_size(terminal.master.get(), rows, columns));
  return terminal;
}

base::Result<void> set_terminal_size(int terminal, std::uint16_t rows, std::uint16_t columns) {
  winsize size{};
  size.ws_row = rows;
  size.ws_col = columns;
  if (ioctl(terminal, TIOCSWINSZ, &size) != 0) return base::errno_error("TIOCSWINSZ");
  return {};
}

int rlimit_number(const std::string& name) {
  for (const NamedLimit& limit : kLimits)
    if (name == limit.name) return limit.number;
  return -1;
}

bool Launch::fail(FailureKind kind, int error, std::string stage, std::string message) {
  protocol::Failure failure;
  failure.request = spec_.request;
  failure.kind = kind;
  failure.error_number = error;
  failure.stage = std::move(stage);
  failure.message = std::move(message);
  failure_ = std::move(failure);
  return false;
}

bool Launch::fail_errno(FailureKind kind, std::string stage, const std::string& what) {
  const int error = errno;
  return fail(kind, error, std::move(stage), what + ": " + std::strerror(error));
}

void Launch::become_process(const Streams& streams) {
  if (connect_streams(streams) && mount_console() && set_limits() && find_user() &&
      enter_working_directory() && check_filter() && drop_privileges() && find_program())
    execute();
  _exit(127);
}

bool Launch::connect_streams(const Streams& streams) {
  // From here on the task has a descriptor table of its own.
  if (unshare(CLONE_FILES) != 0) return fail_errno(FailureKind::kInternal, "streams", "unshare");
  if (setsid() < 0) return fail_errno(FailureKind::kInternal, "streams", "setsid");
  std::array<int, 3> sources = {streams.in, streams.out, streams.err};
  if (streams.in < 0) sources[0] = open("/dev/null", O_RDWR | O_CLOEXEC);
  // guest-init's own 0, 1 and 2 are taken, so no source can be one of the targets.
  for (int target = 0; target < 3; ++target)
    if (dup2(sources[static_cast<std::size_t>(target)], target) < 0)
      return fail_errno(FailureKind::kInternal, "streams", "dup2");
  if (spec_.tty && ioctl(0, TIOCSCTTY, 0) != 0)
    return fail_errno(FailureKind::kInternal, "streams", "TIOCSCTTY");
  return true;
}

bool Launch::mount_console() {
  if (!spec_.tty || !first_) return true;
  const base::UniqueFd file(open("/dev/console", O_CREAT | O_RDONLY | O_NOCTTY | O_CLOEXEC, 0600));
  auto terminal = clone_mount(0, "");
  if (!terminal) return fail(FailureKind::kInternal, 0, "console", terminal.error().message);
  auto target = open_path("/dev/console");
  if (!target) return fail(FailureKind::kInternal, 0, "console", target.error().message);
  if (auto moved = move_mount_to(terminal->get(), target->get()); !moved)
    return fail(FailureKind::kInternal, 0, "console", moved.error().message);
  return true;
}

bool Launch::set_limits() {
  for (const auto& limit : spec_.rlimits) {
    const int number = rlimit_number(limit.name);
    if (number < 0)
      return fail(FailureKind::kLimit, EINVAL, "rlimit", "unknown ulimit \"" + limit.name + "\"");
    const rlimit value{limit.soft, limit.hard};
    if (setrlimit(static_cast<__rlimit_resource>(number), &value) != 0)
      return fail_errno(FailureKind::kLimit, "rlimit", "set ulimit " + limit.name);
  }
  return true;
}

bool Launch::find_user() {
  // Only names need the files; but HOME and the groups of a numeric user come from them too.
  auto resolved = resolve_user(spec_.user, spec_.additional_groups, account_file("/etc/passwd"),
                               account_file("/etc/group"));
  if (!resolved)
    return fail(FailureKind::kNoSuchUser, 0, "user", std::move(resolved).error().message);
  privileges_.credentials = *std::move(resolved);
  for (int stream = 0; stream < 3; ++stream) {
    struct stat status {};
    // The process must be able to open /dev/stdout again. /dev/null stays root's.
    if (privileges_.credentials.uid != 0 && fstat(stream, &status) == 0 &&
        (S_ISFIFO(status.st_mode) || spec_.tty))
      (void)!fchown(stream, privileges_.credentials.uid, static_cast<gid_t>(-1));
  }
  return true;
}

bool Launch::enter_working_directory() {
  const std::string& cwd = spec_.cwd;
  if (!cwd.starts_with('/'))
    return fail(FailureKind::kWorkingDirectory, EINVAL, "cwd",
                "the working directory \"" + cwd + "\" is not an absolute path");
  if (first_ && chdir(cwd.c_str()) != 0 && errno == ENOENT)
    if (auto made = make_directories(cwd); !made)
      return fail(FailureKind::kWorkingDirectory, 0, "cwd", std::move(made).error().message);
  if (chdir(cwd.c_str()) != 0) {
    const int error = errno;
    return fail(FailureKind::kWorkingDirectory, error, "cwd",
                "chdir to cwd (\"" + cwd + "\") set in config.json failed: " +
                    (error == ENOENT ? "no such file or directory" : std::strerror(error)));
  }
  return true;
}

bool Launch::check_filter() {
  const std::size_t size = spec_.seccomp_filter.size();
  const bool whole = size % sizeof(sock_filter) == 0 && size <= protocol::kMaxSeccompFilter;
  if (!whole || (spec_.seccomp_flags & ~kSeccompFlags) != 0)
    return fail(FailureKind::kInvalidRequest, EINVAL, "seccomp",
                "the seccomp filter is cut, too long, or has unknown flags");
  return true;
}

bool Launch::drop_privileges() {
  const auto& groups = privileges_.credentials.groups;
  const std::uint64_t capabilities = spec_.capabilities & known_capabilities();
  if (!bound_capabilities(capabilities))
    return fail_errno(FailureKind::kInternal, "privileges", "bound the capabilities");
  // Without no_new_privs a filter takes CAP_SYS_ADMIN. It is kept up to the execve, which gives the
  // program what its user and the bounding set allow, whatever was permitted before.
  privileges_.installs_as_admin = !spec_.seccomp_filter.empty() && !spec_.no_new_privileges;
  if (privileges_.installs_as_admin && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0)
    return fail_errno(FailureKind::kInternal, "privileges", "keep the capabilities");
  // The plain system calls: glibc's wrappers would look for threads to change as well.
  if (syscall(SYS_setgroups, groups.size(), groups.data()) != 0 ||
      syscall(SYS_setresgid, privileges_.credentials.gid, privileges_.credentials.gid,
              privileges_.credentials.gid) != 0 ||
      syscall(SYS_setresuid, privileges_.credentials.uid, privileges_.credentials.uid,
              privileges_.credentials.uid) != 0)
    return fail_errno(FailureKind::kInternal, "privileges", "change the user");
  // A user other than root starts without capabilities, as an execve would leave it.
  privileges_.own_capabilities = privileges_.credentials.uid == 0 ? capabilities : 0;
  const std::uint64_t permitted =
      privileges_.own_capabilities | (privileges_.installs_as_admin ? kAdmin : 0);
  if (!set_capabilities(privileges_.own_capabilities, permitted))
    return fail_errno(FailureKind::kInternal, "privileges", "set the capabilities");
  if (spec_.no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
    return fail_errno(FailureKind::kInternal, "privileges", "set no_new_privs");
  return true;
}

bool Launch::find_program() {
  if (spec_.argv.empty())
    return fail(FailureKind::kInvalidRequest, EINVAL, "argv", "no command specified");
  if (spec_.files_tool) {
    arguments_.argv = {kFilesToolName};
    add_arguments();
    for (const base::UniqueFd& directory : directories_)
      arguments_.directory_list +=
          (arguments_.directory_list.empty() ? "" : ",") + std::to_string(directory.get());
    arguments_.directory_list.insert(0, std::string(kFilesToolDirectories) + "=");
    arguments_.environment.push_back(arguments_.directory_list.c_str());
    arguments_.environment.push_back(nullptr);
    return true;
  }
  Executable found = find_executable(spec_.argv.front(), environment_value(spec_.env, "PATH"));
  if (!found.found)
    return fail(found.error.kind, found.error.error_number, "lookup",
                std::move(found.error.message));
  program_ = std::move(found.path);

  if (spec_.use_init) arguments_.argv = {kContainerInitName, "--"};
  add_arguments();
  for (const std::string& variable : spec_.env) arguments_.environment.push_back(variable.c_str());
  const char* home = environment_value(spec_.env, "HOME");
  if (home == nullptr || *home == '\0') {
    std::erase_if(arguments_.environment,
                  [](const char* v) { return std::strcmp(v, "HOME=") == 0; });
    home_ = "HOME=" + privileges_.credentials.home;
    arguments_.environment.push_back(home_.c_str());
  }
  arguments_.environment.push_back(nullptr);
  return true;
}

void Launch::add_arguments() {
  for (const std::string& argument : spec_.argv) arguments_.argv.push_back(argument.c_str());
  arguments_.argv.push_back(nullptr);
}

bool Launch::install_filter() {
  if (spec_.seccomp_filter.empty()) return true;
  const std::uint64_t all = privileges_.own_capabilities | kAdmin;
  if (privileges_.installs_as_admin && !set_capabilities(all, all))
    return fail_errno(FailureKind::kInternal, "seccomp", "set the capabilities");
  sock_fprog program{};
  program.len = static_cast<unsigned short>(spec_.seccomp_filter.size() / sizeof(sock_filter));
  // The kernel copies it; it is aligned as everything from the heap is.
  program.filter =
      const_cast<sock_filter*>(reinterpret_cast<const sock_filter*>(spec_.seccomp_filter.data()));
  if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, spec_.seccomp_flags, &program) != 0)
    return fail_errno(FailureKind::kInternal, "seccomp", "load the seccomp filter into the kernel");
  return true;
}

void Launch::execute() {
  umask(022);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
  for (const base::UniqueFd& directory : directories_) fcntl(directory.get(), F_SETFD, 0);
  char* const* argv = const_cast<char* const*>(arguments_.argv.data());
  char* const* environment = const_cast<char* const*>(arguments_.environment.data());
  const bool filtered = !spec_.seccomp_filter.empty();
  const std::string own_path = "/proc/self/fd/" + std::to_string(init_program_);
  // The filter may refuse what malloc needs: the message has its memory before.
  std::string message = "exec " + program_ + ": ";
  const std::size_t reason = message.size();
  message.reserve(reason + kLongestReason);
  if (!install_filter()) return;
  if (!spec_.use_init && !spec_.files_tool)
    execve(program_.c_str(), argv, environment);
  else if (filtered)  // a profile allows execve, but perhaps not execveat
    execve(own_path.c_str(), argv, environment);
  else
    syscall(SYS_execveat, init_program_, "", argv, environment, AT_EMPTY_PATH);
  const int error = errno;
  const FailureKind kind =
      error == ENOENT ? FailureKind::kExecutableNotFound : FailureKind::kNotExecutable;
  message.append(std::strerror(error), 0, kLongestReason);
  char& first = message[reason];
  if (first >= 'A' && first <= 'Z') first = static_cast<char>(first + 32);
  fail(kind, error, "execve", std::move(message));
}

}  // namespace guest_init
