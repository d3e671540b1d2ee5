// containervm-fileserver: serves the shared directories of one virtual machine.
//
// It enters its sandbox before it reads a byte from anybody, and restricts its threads before a
// guest's. This thread then takes the daemon's requests; others serve the guest (server.h).
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <linux/nsfs.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>

#include "vmm/base/event_loop.h"
#include "vmm/fileserver/files/file_system.h"
#include "vmm/fileserver/files/limits.h"
#include "vmm/fileserver/session/server.h"
#include "vmm/fileserver/tree_control.h"
#include "vmm/launch/file_server.h"
#include "vmm/sandbox/sandbox.h"

namespace {

namespace protocol = launch::file_server;

constexpr char kUsage[] =
    "usage: containervm-fileserver 3<>SESSION 4<>CONTROL\n"
    "  descriptor 3  SOCK_STREAM socket of the monitor (vmm/launch/file_server.h)\n"
    "  descriptor 4  listening SOCK_SEQPACKET socket for the daemon\n"
    "  descriptor 5  if given: an empty network namespace to join\n"
    "Start it as root, with CLONE_NEWPID to hide the host's processes as well. It serves as many\n"
    "files at a time as its hard limit of descriptors allows.\n";

constexpr std::size_t kStackBytes = 256u << 10;
constexpr int kLargestInHeap = 256 << 10;

void complain(const base::Error& error) {
  std::fprintf(stderr, "containervm-fileserver: %s\n", error.message.c_str());
}

bool is_socket(int fd) {
  struct stat found {};
  return ::fstat(fd, &found) == 0 && S_ISSOCK(found.st_mode);
}

bool is_namespace(int fd) { return ::ioctl(fd, NS_GET_NSTYPE) == CLONE_NEWNET; }

/// Memory is what a machine costs: threads share one heap, and large requests give theirs back.
void use_little_memory() {
  ::mallopt(M_ARENA_MAX, 1);
  ::mallopt(M_MMAP_THRESHOLD, kLargestInHeap);
  pthread_attr_t attributes;
  ::pthread_attr_init(&attributes);
  ::pthread_attr_setstacksize(&attributes, kStackBytes);
  ::pthread_setattr_default_np(&attributes);
  ::pthread_attr_destroy(&attributes);
}

/// This process's directory of descriptors, as a mount of its own: nothing of /proc is above it.
base::Result<base::UniqueFd> open_descriptors() {
  const long mount = ::syscall(SYS_open_tree, AT_FDCWD, "/proc/self/fd",
                               static_cast<unsigned>(OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  if (mount < 0) return base::errno_error("open_tree /proc/self/fd");
  return base::UniqueFd(static_cast<int>(mount));
}

/// What files of others need, and nothing else: see PROTECTIONS.md.
base::Result<void> enter_sandbox(int descriptors) {
  sandbox::Settings settings;
  settings.map_everybody = true;
  settings.capabilities = {CAP_CHOWN,  CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID,
                           CAP_SETGID, CAP_SETUID,       CAP_SETFCAP};
  settings.most_descriptors = 0;
  if (is_namespace(protocol::kNetworkDescriptor))
    settings.network_namespace.reset(protocol::kNetworkDescriptor);
  settings.descriptors = {protocol::kSessionDescriptor, protocol::kControlDescriptor, descriptors};
  return sandbox::confine(std::move(settings));
}

base::Result<std::size_t> most_open() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return base::errno_error("getrlimit");
  if (limit.rlim_cur <= fileserver::kReservedDescriptors)
    return base::Error{base::Code::kResourceExhausted,
                       "the hard limit of descriptors (ulimit -n) is not above " +
                           std::to_string(fileserver::kReservedDescriptors)};
  return std::size_t{limit.rlim_cur} - fileserver::kReservedDescriptors;
}

/// A thread may be in a call of a file system that does not return; nobody waits for it.
void end(const base::Result<void>& ended) {
  if (!ended) complain(ended.error());
  ::_exit(ended ? 0 : 1);
}

/// Serves until end(), or fails.
base::Result<void> serve() {
  if (::geteuid() != 0)
    return base::Error{base::Code::kPermissionDenied,
                       "it has to be started as root: files are to belong to whom a guest says"};
  auto descriptors = open_descriptors();
  if (!descriptors) return descriptors.error();
  if (auto entered = enter_sandbox(descriptors->get()); !entered)
    return base::annotate(std::move(entered), "sandbox");
  const auto most = most_open();
  if (!most) return most.error();
  fileserver::FileSystem files({*std::move(descriptors), *most});
  auto loop = base::EventLoop::create();
  if (!loop) return loop.error();
  auto control = fileserver::TreeControl::create(
      {**loop, files, base::UniqueFd(protocol::kControlDescriptor)});
  if (!control) return control.error();
  auto server = fileserver::Server::start({.session = base::UniqueFd(protocol::kSessionDescriptor),
                                           .files = files,
                                           .restrict = sandbox::restrict_file_server_thread,
                                           .on_end = end});
  if (!server) return base::annotate(std::move(server), "threads");
  return (*loop)->run();
}

}  // namespace

int main(int argc, char** /*argv*/) {
  use_little_memory();
  std::signal(SIGXFSZ, SIG_IGN);  // a write beyond a limit fails with EFBIG
  if (argc != 1 || !is_socket(protocol::kSessionDescriptor) ||
      !is_socket(protocol::kControlDescriptor)) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  end(serve());
}
