// Tries to reach guest-init from inside of a container, in every way that its author could think
// of. For guest_isolation_test.py. Prints a line for each attempt, "NAME RESULT": RESULT is "open",
// "connected" or "bound" where it succeeded, else the error's name.
//
//   guest_probe sockets   the calls that may make an AF_VSOCK socket
//   guest_probe connect   each socket that can be had, to guest-init's ports under every CID
//   guest_probe files     what belongs to guest-init, or shows the kernel, in /proc and /dev
//   guest_probe signals   to all that this process may send them to
//   guest_probe race N    looks into every process that begins, until N of them have
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { kControlPort = 1024, kStreamPort = 1025, kPatienceMs = 3000 };

static void tell(const char* name, const char* result) {
  printf("%s %s\n", name, result);
  fflush(stdout);
}

/// Tells what a call returned: `success`, or errno's name if `result` is negative.
static void tell_call(const char* name, long result, const char* success) {
  const char* error = strerrorname_np(errno);
  tell(name, result >= 0 ? success : error != NULL ? error : "unknown");
}

// --- ways to a socket

static long with_errno(long result) {
  if (result >= 0 || result < -4095) return result;
  errno = (int)-result;
  return -1;
}

/// A call as an i386 program makes it.
static long int80(long number, long a, long b, long c) {
  long result;
  __asm__ volatile("int $0x80"
                   : "=a"(result)
                   : "a"(number), "b"(a), "c"(b), "d"(c)
                   : "memory", "r8", "r9", "r10", "r11");
  return with_errno((int)result);
}

static long direct(void) { return syscall(SYS_socket, AF_VSOCK, SOCK_STREAM, 0); }
static long high_half(void) { return syscall(SYS_socket, AF_VSOCK | 1L << 32, SOCK_STREAM, 0); }
static long sign_half(void) {
  return syscall(SYS_socket, (long)(0xffffffff00000000UL | AF_VSOCK), SOCK_STREAM, 0);
}
static long seqpacket(void) { return syscall(SYS_socket, AF_VSOCK, SOCK_SEQPACKET, 0); }
static long x32(void) { return syscall(0x40000000 | SYS_socket, AF_VSOCK, SOCK_STREAM, 0); }
static long i386_socket(void) { return int80(359, AF_VSOCK, SOCK_STREAM, 0); }
static long i386_socketcall(void) {
  uint32_t* const arguments =
      mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
  if (arguments == MAP_FAILED) return -1;
  arguments[0] = AF_VSOCK;
  arguments[1] = SOCK_STREAM;
  arguments[2] = 0;
  return int80(102, 1, (long)arguments, 0);
}

struct way {
  const char* name;
  long (*make)(void);
};
static const struct way kWays[] = {
    {"direct", direct},           {"high-half", high_half},
    {"sign-half", sign_half},     {"x32", x32},
    {"i386-socket", i386_socket}, {"i386-socketcall", i386_socketcall},
    {"seqpacket", seqpacket},
};
enum { kWayCount = sizeof kWays / sizeof kWays[0] };

static void sockets(void) {
  for (int i = 0; i < kWayCount; ++i) {
    const long made = kWays[i].make();
    tell_call(kWays[i].name, made, "open");
    if (made >= 0) close((int)made);
  }
  tell_call("inet", socket(AF_INET, SOCK_STREAM, 0), "open");
  struct {
    uint32_t words[30];
  } parameters;
  memset(&parameters, 0, sizeof parameters);
  tell_call("io_uring", syscall(425, 4, &parameters), "open");
}

// --- connections

/// Sends the host's greeting as anybody may guess or have recorded it: without a secret, with a
/// wrong one, and in an older form. Whether anything answers.
static int is_answered(int socket) {
  static const unsigned char kHellos[3][42] = {{36, 0, 0, 0, 1, 0, 7},
                                               {36, 0, 0, 0, 1, 0, 7, 0, 0, 0, 0x5e, 0xc4, 0xe7},
                                               {4, 0, 0, 0, 1, 0, 6}};
  for (int i = 0; i < 3; ++i)
    if (send(socket, kHellos[i], i < 2 ? 42 : 10, MSG_NOSIGNAL) < 0) return 0;
  struct pollfd wait = {socket, POLLIN, 0};
  char byte;
  return poll(&wait, 1, kPatienceMs) > 0 && recv(socket, &byte, 1, 0) == 1;
}

static unsigned own_cid(void) {
  unsigned cid = 3;  // what the monitor gives, where /dev/vsock does not say
  const int device = open("/dev/vsock", O_RDONLY);
  if (device >= 0) ioctl(device, IOCTL_VM_SOCKETS_GET_LOCAL_CID, &cid);
  return cid;
}

static void connect_with(const struct way* way, const char* cid_name, unsigned cid, unsigned port) {
  char name[64];
  snprintf(name, sizeof name, "%s-%s-%u", way->name, cid_name, port);
  const int made = (int)way->make();
  if (made < 0) return;
  const struct timeval patience = {kPatienceMs / 1000, 0};
  setsockopt(made, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &patience, sizeof patience);
  const struct sockaddr_vm to = {.svm_family = AF_VSOCK, .svm_port = port, .svm_cid = cid};
  const int connected = connect(made, (const struct sockaddr*)&to, sizeof to);
  tell_call(name, connected, "connected");
  if (connected == 0) tell(name, is_answered(made) ? "answered" : "silent");
  close(made);
}

static void connect_all(void) {
  const struct {
    const char* name;
    unsigned cid;
  } cids[] = {{"hypervisor", VMADDR_CID_HYPERVISOR},
              {"local", VMADDR_CID_LOCAL},
              {"host", VMADDR_CID_HOST},
              {"own", own_cid()},
              {"other", 77},
              {"any", VMADDR_CID_ANY}};
  for (int way = 0; way < kWayCount; ++way)
    for (unsigned i = 0; i < sizeof cids / sizeof cids[0]; ++i)
      for (unsigned port = kControlPort; port <= kStreamPort; ++port)
        connect_with(&kWays[way], cids[i].name, cids[i].cid, port);
  // Taking the port away from guest-init, so that the host comes here instead.
  for (unsigned port = kControlPort; port <= kStreamPort; ++port) {
    const int made = (int)direct();
    if (made < 0) continue;
    const struct sockaddr_vm at = {
        .svm_family = AF_VSOCK, .svm_port = port, .svm_cid = VMADDR_CID_ANY};
    tell_call(port == kControlPort ? "bind-control" : "bind-streams",
              bind(made, (const struct sockaddr*)&at, sizeof at), "bound");
  }
}

// --- files

static long open_node(unsigned kind, unsigned major_number, unsigned minor_number) {
  static const char kPath[] = "/tmp/guest-probe-node";
  if (mknod(kPath, kind | 0600, makedev(major_number, minor_number)) != 0) return -1;
  const int opened = open(kPath, O_RDWR);
  const int error = errno;
  unlink(kPath);
  errno = error;
  return opened;
}

static void files(void) {
  tell_call("exe-write", open("/proc/1/exe", O_WRONLY), "open");
  tell_call("exe-chmod", chmod("/proc/1/exe", 0777), "changed");
  tell_call("exe-chown", chown("/proc/1/exe", 1, 1), "changed");
  tell_call("exe-truncate", truncate("/proc/1/exe", 0), "changed");
  tell_call("mem", open_node(S_IFCHR, 1, 1), "open");
  tell_call("kmsg", open_node(S_IFCHR, 1, 11), "open");
  tell_call("writable-disk", open_node(S_IFBLK, 254, 16), "open");
  tell_call("kcore", open("/proc/kcore", O_RDONLY), "open");
  char log[256];
  tell_call("kernel-log", klogctl(3, log, sizeof log), "read");
}

// --- a process that begins

/// Whether something of guest-init could be had from the process while it was not yet the
/// container's program.
static int reaches_into(int pid) {
  char path[64];
  char program[64] = "";
  snprintf(path, sizeof path, "/proc/%d/exe", pid);
  if (readlink(path, program, sizeof program - 1) < 0) return 0;
  if (strcmp(program, "/init") != 0) return 0;
  tell("exe", program);
  snprintf(path, sizeof path, "/proc/%d/mem", pid);
  if (open(path, O_RDWR) >= 0) tell("memory", "open");
  if (ptrace(PTRACE_SEIZE, pid, 0, 0) == 0) tell("ptrace", "attached");
  return 1;
}

static void race(int wanted) {
  int newest = getpid();
  for (int seen = 0, idle = 0; seen < wanted && idle < 3000000; ++idle) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d", newest + 1);
    if (access(path, F_OK) != 0) continue;
    ++newest;
    ++seen;
    idle = 0;
    // Until it executes its program, or goes.
    for (int look = 0; look < 20000 && access(path, F_OK) == 0; ++look)
      if (reaches_into(newest)) break;
  }
  tell("race", "over");
}

/// Not to this process, nor to the container's PID 1: the kernel leaves both out.
static void signals(void) {
  const int numbers[] = {SIGTERM, SIGCHLD, SIGHUP, SIGSTOP, SIGKILL};
  for (unsigned i = 0; i < sizeof numbers / sizeof numbers[0]; ++i) kill(-1, numbers[i]);
  tell("signals", "sent");
}

int main(int argc, char** argv) {
  const char* what = argc > 1 ? argv[1] : "";
  if (strcmp(what, "sockets") == 0) return sockets(), 0;
  if (strcmp(what, "connect") == 0) return connect_all(), 0;
  if (strcmp(what, "files") == 0) return files(), 0;
  if (strcmp(what, "signals") == 0) return signals(), 0;
  if (strcmp(what, "race") == 0 && argc > 2) return race(atoi(argv[2])), 0;
  return 2;
}
