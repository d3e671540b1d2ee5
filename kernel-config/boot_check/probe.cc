// Runs inside the guest of kernel-config/check: calls the kernel interfaces that no shell tool
// reaches, and prints one line for each. It is linked statically, so it needs nothing of an image.
// Exit status: the number of interfaces that failed.
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/audit.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/if_alg.h>
#include <linux/io_uring.h>
#include <linux/keyctl.h>
#include <linux/landlock.h>
#include <linux/membarrier.h>
#include <linux/perf_event.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <linux/vm_sockets.h>
#include <mqueue.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>

namespace {

long bpf(int command, bpf_attr& attr) { return syscall(SYS_bpf, command, &attr, sizeof attr); }

long io_uring() {
  io_uring_params params{};
  return syscall(SYS_io_uring_setup, 8, &params);
}

long aio() {
  aio_context_t context = 0;
  return syscall(SYS_io_setup, 8, &context);
}

long bpf_cgroup_device_program() {
  // The program "r0 = 1; exit", which a container runtime loads to allow all devices.
  bpf_insn code[2] = {};
  code[0].code = BPF_ALU64 | BPF_MOV | BPF_K;
  code[0].imm = 1;
  code[1].code = BPF_JMP | BPF_EXIT;
  bpf_attr attr;
  std::memset(&attr, 0, sizeof attr);
  attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
  attr.insns = reinterpret_cast<std::uintptr_t>(code);
  attr.insn_cnt = 2;
  attr.license = reinterpret_cast<std::uintptr_t>("GPL");
  const long program = bpf(BPF_PROG_LOAD, attr);
  if (program < 0) return program;
  bpf_attr attach;
  std::memset(&attach, 0, sizeof attach);
  attach.target_fd =
      static_cast<std::uint32_t>(open("/sys/fs/cgroup/probe", O_RDONLY | O_DIRECTORY));
  attach.attach_bpf_fd = static_cast<std::uint32_t>(program);
  attach.attach_type = BPF_CGROUP_DEVICE;
  return bpf(BPF_PROG_ATTACH, attach);
}

/// A child under a filter that answers getppid with EXDEV must see exactly that.
long seccomp_filter() {
  const pid_t child = fork();
  if (child == 0) {
    sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EXDEV),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    sock_fprog program{.len = sizeof code / sizeof code[0], .filter = code};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0) _exit(1);
    _exit(syscall(SYS_getppid) == -1 && errno == EXDEV ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  errno = ENOSYS;
  return status == 0 ? 0 : -1;
}

/// Namespaces are made in a child, so that the rest of the checks keeps its own.
long every_namespace() {
  const pid_t child = fork();
  if (child == 0) {
    constexpr int kTime = 0x80;  // CLONE_NEWTIME
    const int all = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID |
                    CLONE_NEWNET | CLONE_NEWCGROUP | kTime;
    _exit(unshare(all) == 0 ? 0 : errno);
  }
  int status = 0;
  waitpid(child, &status, 0);
  errno = WEXITSTATUS(status);
  return status == 0 ? 0 : -1;
}

/// Calls getpid through the 32-bit entry.
long compat_32bit() {
  long result = 20;
  asm volatile("int $0x80" : "+a"(result) : : "memory", "r8", "r9", "r10", "r11");
  errno = ENOSYS;
  return result == getpid() ? 0 : -1;
}

long userfault() { return syscall(SYS_userfaultfd, O_CLOEXEC); }

long perf_counter() {
  perf_event_attr attr{};
  attr.type = PERF_TYPE_SOFTWARE;
  attr.size = sizeof attr;
  attr.config = PERF_COUNT_SW_TASK_CLOCK;
  return syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
}

long crypto_socket() {
  const int fd = socket(AF_ALG, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  sockaddr_alg address{};
  address.salg_family = AF_ALG;
  std::strcpy(reinterpret_cast<char*>(address.salg_type), "hash");
  std::strcpy(reinterpret_cast<char*>(address.salg_name), "sha256");
  return bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address);
}

long message_queue() {
  const mqd_t queue = mq_open("/probe", O_RDWR | O_CREAT, 0600, nullptr);
  return queue;
}

long huge_page_advice() {
  constexpr std::size_t kSize = 4u << 20;
  void* memory = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return madvise(memory, kSize, MADV_HUGEPAGE);
}

long packet_socket() { return socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0); }

long signal_descriptor() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  return signalfd(-1, &set, SFD_CLOEXEC);
}

long keyring() { return syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 1); }

long compare_processes() { return syscall(SYS_kcmp, getpid(), getpid(), 0, 0, 0); }

/// Puts a user attribute and a POSIX access list (version 2; user, group and other may read and
/// write) on a new file.
long attributes_in(const char* directory) {
  const int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd < 0) return fd;
  struct {
    std::uint32_t version = 2;
    struct {
      std::uint16_t tag, permissions;
      std::uint32_t id;
    } entries[3] = {{0x01, 6, ~0u}, {0x04, 6, ~0u}, {0x20, 6, ~0u}};
  } access_list;
  if (fsetxattr(fd, "user.probe", "1", 1, 0) != 0) return -1;
  return fsetxattr(fd, "system.posix_acl_access", &access_list, sizeof access_list, 0);
}

struct Interface {
  const char* name;
  long (*call)();
};

constexpr Interface kInterfaces[] = {
    {"io_uring", io_uring},
    {"aio", aio},
    {"epoll", [] { return static_cast<long>(epoll_create1(EPOLL_CLOEXEC)); }},
    {"eventfd", [] { return static_cast<long>(eventfd(0, EFD_CLOEXEC)); }},
    {"timerfd", [] { return static_cast<long>(timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC)); }},
    {"signalfd", signal_descriptor},
    {"inotify", [] { return static_cast<long>(inotify_init1(IN_CLOEXEC)); }},
    {"fanotify",
     [] { return static_cast<long>(fanotify_init(FAN_CLOEXEC | FAN_CLASS_CONTENT, O_RDONLY)); }},
    {"memfd", [] { return static_cast<long>(memfd_create("probe", MFD_CLOEXEC)); }},
    {"memfd_secret", [] { return syscall(SYS_memfd_secret, O_CLOEXEC); }},
    {"userfaultfd", userfault},
    {"transparent huge pages", huge_page_advice},
    {"System V shared memory",
     [] { return static_cast<long>(shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600)); }},
    {"POSIX message queues", message_queue},
    {"keyrings", keyring},
    {"landlock",
     [] {
       return syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
     }},
    {"membarrier", [] { return syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0); }},
    {"kcmp", compare_processes},
    {"perf", perf_counter},
    {"BPF device program on a cgroup", bpf_cgroup_device_program},
    {"seccomp filter", seccomp_filter},
    {"all namespaces", every_namespace},
    {"32-bit system calls", compat_32bit},
    {"attributes on ext4", [] { return attributes_in("/disk"); }},
    {"attributes on tmpfs", [] { return attributes_in("/dev/shm"); }},
    {"attributes on overlay", [] { return attributes_in("/joined"); }},
    {"AF_ALG", crypto_socket},
    {"AF_PACKET", packet_socket},
    {"AF_VSOCK", [] { return static_cast<long>(socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0)); }},
};

}  // namespace

int main() {
  int failed = 0;
  for (const Interface& interface : kInterfaces) {
    if (interface.call() >= 0) {
      std::printf("ok %s\n", interface.name);
    } else {
      std::printf("FAIL %s: %s\n", interface.name, std::strerror(errno));
      ++failed;
    }
  }
  return failed;
}
