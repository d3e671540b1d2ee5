// Build-time program: writes sandbox_filters.h, the seccomp filters of sandbox.h as BPF, and the
// names of the calls that each allows. Compiling them here keeps libseccomp, and the time it takes,
// out of every start of a machine.
//
// A thread has the process filter from the sandbox on, and from the guest's first instruction on a
// second one; the kernel asks both.
//   process   everything a monitor does until its machine runs; whatever the others allow
//   device    the thread of the loop and of all devices, while a clone runs
//   saving    the same, where the machine was booted to make a template of it
//   disk      the thread that does what may wait (devices/block/io_worker.h)
//   vcpu      a thread that runs a vCPU
// A thread of a file server (vmm/fileserver) has one filter of its own, and not the process filter.
// PROTECTIONS.md says what each call of a running clone and of a file server is used for;
// thread_filters_test.cc compares.
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/futex.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "vmm/arch/kvm_requests.h"
#include "vmm/kvm/table.h"

namespace {

struct Argument {
  unsigned index;
  scmp_datum_t mask;
  scmp_datum_t value;
};

struct Rule {
  int syscall;
  std::vector<Argument> arguments;
};

constexpr scmp_datum_t kAllBits = 0xffffffff;  // of a 32-bit argument
constexpr scmp_datum_t kPointer = ~scmp_datum_t{0};

/// A mask for a 32-bit argument that may have `bits` set and no others.
constexpr scmp_datum_t except(scmp_datum_t bits) { return kAllBits & ~bits; }

using Rules = std::vector<Rule>;

/// What malloc and mutexes need on every thread. Of futex operations only waiting and waking.
constexpr scmp_datum_t kFutexOperation = except(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME);
const Rules kEveryThread = {
    {SCMP_SYS(futex), {{1, kFutexOperation, FUTEX_WAIT}}},
    {SCMP_SYS(futex), {{1, kFutexOperation, FUTEX_WAKE}}},
    {SCMP_SYS(futex), {{1, kFutexOperation, FUTEX_WAIT_BITSET}}},
    {SCMP_SYS(mmap),
     {{2, PROT_EXEC, 0}, {3, except(MAP_NORESERVE | MAP_STACK), MAP_PRIVATE | MAP_ANONYMOUS}}},
    {SCMP_SYS(munmap), {}},
    {SCMP_SYS(brk), {}},
    {SCMP_SYS(write), {}},  // event descriptors, the log
};

/// The device thread, on descriptors that were handed in.
const Rules kDevices = {
    {SCMP_SYS(epoll_wait), {}},
    {SCMP_SYS(epoll_ctl), {}},
    {SCMP_SYS(poll), {{1, kPointer, 1}, {2, kAllBits, 0}}},
    {SCMP_SYS(read), {}},  // event descriptors
    {SCMP_SYS(readv), {}},
    {SCMP_SYS(writev), {}},
    {SCMP_SYS(preadv2), {{5, except(RWF_NOWAIT), 0}}},
    {SCMP_SYS(pwritev), {}},
    {SCMP_SYS(pwrite64), {}},  // the machine's last words
    {SCMP_SYS(recvmsg), {{2, except(MSG_DONTWAIT | MSG_CMSG_CLOEXEC), 0}}},
    {SCMP_SYS(recvfrom), {{3, kAllBits, MSG_DONTWAIT}, {4, kPointer, 0}}},
    {SCMP_SYS(sendmsg), {{2, except(MSG_DONTWAIT), MSG_NOSIGNAL}}},
    {SCMP_SYS(accept4),
     {{1, kPointer, 0}, {2, kPointer, 0}, {3, kAllBits, SOCK_CLOEXEC | SOCK_NONBLOCK}}},
    {SCMP_SYS(shutdown), {}},
    {SCMP_SYS(close), {}},
    {SCMP_SYS(getrandom), {{2, kAllBits, 0}}},
    {SCMP_SYS(madvise), {{2, kAllBits, MADV_DONTNEED}}},
    {SCMP_SYS(ioctl), {{1, kAllBits, TUNSETOFFLOAD}}},
    {SCMP_SYS(ioctl), {{1, kAllBits, KVM_SIGNAL_MSI}}},
    {SCMP_SYS(ioctl), {{1, kAllBits, KVM_IOEVENTFD}}},  // some are registered while it runs already
    // pthread_kill(), for kicking a vCPU
    {SCMP_SYS(getpid), {}},
    {SCMP_SYS(rt_sigprocmask), {}},
    {SCMP_SYS(tgkill), {{2, kAllBits, SIGUSR1}}},
    {SCMP_SYS(exit_group), {}},
};

/// What saving a template needs beside kDevices.
const Rules kSaving = {
    {SCMP_SYS(timerfd_create), {}},
    {SCMP_SYS(timerfd_settime), {}},
    {SCMP_SYS(ftruncate), {}},
    {SCMP_SYS(ioctl), {{1, kAllBits, FIONREAD}}},
};

/// The disk thread. What cannot wait is done by the device thread.
const Rules kDisk = {
    {SCMP_SYS(preadv2), {{5, except(RWF_NOWAIT), 0}}},
    {SCMP_SYS(pwritev), {}},
    {SCMP_SYS(fallocate), {{1, kAllBits, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE}}},
    {SCMP_SYS(fallocate), {{1, kAllBits, FALLOC_FL_ZERO_RANGE}}},
    {SCMP_SYS(fdatasync), {}},
};

const Rules kVcpu = {
    {SCMP_SYS(rt_sigreturn), {}},  // from the handler of the kick
};

/// All of a file server. The guest says with which names and numbers most of it is called, so only
/// what a number means to the kernel is narrowed: no other commands and flags than these.
const Rules kFiles = {
    // requests, answers, the daemon
    {SCMP_SYS(recvfrom), {{3, kAllBits, 0}, {4, kPointer, 0}}},
    {SCMP_SYS(recvmsg), {{2, except(MSG_CMSG_CLOEXEC), 0}}},
    {SCMP_SYS(sendmsg), {{2, kAllBits, MSG_NOSIGNAL}}},
    {SCMP_SYS(accept4),
     {{1, kPointer, 0}, {2, kPointer, 0}, {3, kAllBits, SOCK_CLOEXEC | SOCK_NONBLOCK}}},
    {SCMP_SYS(shutdown), {}},
    {SCMP_SYS(epoll_wait), {}},
    {SCMP_SYS(epoll_ctl), {}},
    {SCMP_SYS(read), {}},  // event descriptors
    {SCMP_SYS(close), {}},
    {SCMP_SYS(exit_group), {}},
    // whose files are made
    {SCMP_SYS(setfsuid), {}},
    {SCMP_SYS(setfsgid), {}},
    {SCMP_SYS(getuid), {}},  // libfuse, when a session begins
    {SCMP_SYS(geteuid), {}},
    {SCMP_SYS(getegid), {}},
    {SCMP_SYS(umask), {}},
    // names
    {SCMP_SYS(openat), {}},
    {SCMP_SYS(mknodat), {}},
    {SCMP_SYS(mkdirat), {}},
    {SCMP_SYS(symlinkat), {}},
    {SCMP_SYS(linkat), {{4, kAllBits, AT_SYMLINK_FOLLOW}}},
    {SCMP_SYS(unlinkat), {}},
    {SCMP_SYS(renameat2), {}},
    {SCMP_SYS(readlinkat), {}},
    // attributes
    {SCMP_SYS(statx), {}},
    {SCMP_SYS(fstatfs), {}},
    {SCMP_SYS(fchmodat), {}},
    {SCMP_SYS(fchownat), {{4, kAllBits, AT_EMPTY_PATH}}},
    {SCMP_SYS(utimensat), {}},
    {SCMP_SYS(setxattr), {}},
    {SCMP_SYS(getxattr), {}},
    {SCMP_SYS(listxattr), {}},
    {SCMP_SYS(removexattr), {}},
    // content
    {SCMP_SYS(pread64), {}},
    {SCMP_SYS(pwritev2), {}},
    {SCMP_SYS(ftruncate), {}},
    {SCMP_SYS(fallocate), {}},
    {SCMP_SYS(copy_file_range), {{5, kAllBits, 0}}},
    {SCMP_SYS(lseek), {}},
    {SCMP_SYS(fsync), {}},
    {SCMP_SYS(fdatasync), {}},
    {SCMP_SYS(getdents64), {}},
    // locks, copies of a tree's descriptor, and whether it is one
    {SCMP_SYS(flock), {}},
    {SCMP_SYS(fcntl), {{1, kAllBits, F_OFD_SETLK}}},
    {SCMP_SYS(fcntl), {{1, kAllBits, F_OFD_GETLK}}},
    {SCMP_SYS(fcntl), {{1, kAllBits, F_DUPFD_CLOEXEC}}},
    {SCMP_SYS(fcntl), {{1, kAllBits, F_GETFL}}},
};

/// Starting threads, and narrowing their filters. clone3 hides its flags from us: glibc falls back
/// to clone when it is told that clone3 does not exist.
constexpr scmp_datum_t kThreadFlags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND |
                                      CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS |
                                      CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
const Rules kThreads = {
    {SCMP_SYS(clone), {{0, kPointer, kThreadFlags}}},
    {SCMP_SYS(mprotect), {{2, PROT_EXEC, 0}}},
    {SCMP_SYS(rt_sigaction), {}},  // glibc, at the first thread
    {SCMP_SYS(set_robust_list), {}},
    {SCMP_SYS(rseq), {}},
    {SCMP_SYS(seccomp), {{0, kAllBits, 1}, {1, kAllBits, 0}}},  // SECCOMP_SET_MODE_FILTER
    {SCMP_SYS(exit), {}},
    {SCMP_SYS(prctl), {{0, kAllBits, PR_SET_NAME}}},
};

/// Allowed only before a machine runs.
const Rules kSetUp = {
    {SCMP_SYS(mmap), {{2, PROT_EXEC, 0}}},  // memory and layers from files
    {SCMP_SYS(madvise), {{2, kAllBits, MADV_NOHUGEPAGE}}},
    {SCMP_SYS(epoll_create1), {}},
    {SCMP_SYS(eventfd2), {}},
    {SCMP_SYS(fcntl), {{1, kAllBits, F_SETFL}}},
    {SCMP_SYS(fstat), {}},
    {SCMP_SYS(newfstatat), {{3, AT_EMPTY_PATH, AT_EMPTY_PATH}}},  // how glibc spells fstat
    {SCMP_SYS(pread64), {}},
};

/// KVM requests that build a machine; those of the architecture are beside its code.
constexpr unsigned long kBuilding[] = {
    KVM_GET_API_VERSION,        KVM_CREATE_VM,   KVM_GET_VCPU_MMAP_SIZE, KVM_ENABLE_CAP,
    KVM_SET_USER_MEMORY_REGION, KVM_CREATE_VCPU,
};

/// KVM requests that save a machine.
constexpr unsigned long kReading[] = {KVM_CHECK_EXTENSION};

/// KVM requests of a vCPU thread: run, and what accesses to its interrupt controller cause.
constexpr unsigned long kRunning[] = {KVM_RUN, KVM_SIGNAL_MSI, kvm::kSetGsiRouting};

void check(int result, const char* what) {
  if (result >= 0) return;
  std::fprintf(stderr, "sandbox filter: %s: error %d\n", what, result);
  std::exit(1);
}

class Filter {
 public:
  Filter() : context_(::seccomp_init(SCMP_ACT_KILL_PROCESS)) {
    if (context_ == nullptr) std::abort();
    check(::seccomp_attr_set(context_, SCMP_FLTATR_CTL_OPTIMIZE, 2), "optimize");
  }
  ~Filter() { ::seccomp_release(context_); }
  Filter(const Filter&) = delete;
  Filter& operator=(const Filter&) = delete;

  Filter& allow(const Rules& rules) {
    for (const Rule& rule : rules) {
      names_.insert(name_of(rule.syscall));
      std::vector<scmp_arg_cmp> compares;
      for (const Argument& argument : rule.arguments)
        compares.push_back({argument.index, SCMP_CMP_MASKED_EQ, argument.mask, argument.value});
      check(::seccomp_rule_add_array(context_, SCMP_ACT_ALLOW, rule.syscall,
                                     static_cast<unsigned>(compares.size()), compares.data()),
            "rule");
    }
    return *this;
  }

  Filter& allow_requests(std::span<const unsigned long> requests) {
    for (const unsigned long request : requests)
      allow({{SCMP_SYS(ioctl), {{1, kAllBits, request}}}});
    return *this;
  }

  Filter& pretend_absent(int syscall) {
    check(::seccomp_rule_add(context_, SCMP_ACT_ERRNO(ENOSYS), syscall, 0), "errno rule");
    return *this;
  }

  /// `kXFilter` and `kXCalls`, for X = `name`.
  void print(const std::string& name) const {
    print_program("k" + name + "Filter");
    std::printf("inline constexpr std::string_view k%sCalls[] = {\n", name.c_str());
    for (const std::string& call : names_) std::printf("    \"%s\",\n", call.c_str());
    std::printf("};\n\n");
  }

 private:
  static std::string name_of(int syscall) {
    char* const name = ::seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, syscall);
    if (name == nullptr) std::abort();
    std::string copy(name);
    std::free(name);
    return copy;
  }

  void print_program(const std::string& name) const {
    std::FILE* const file = std::tmpfile();
    if (file == nullptr) std::abort();
    check(::seccomp_export_bpf(context_, ::fileno(file)), "export");
    std::rewind(file);
    struct {
      unsigned short code;
      unsigned char jump_true;
      unsigned char jump_false;
      unsigned value;
    } instruction;
    std::printf("inline constexpr sock_filter %s[] = {\n", name.c_str());
    while (std::fread(&instruction, sizeof instruction, 1, file) == 1)
      std::printf("    {0x%x, %u, %u, 0x%x},\n", instruction.code, instruction.jump_true,
                  instruction.jump_false, instruction.value);
    std::printf("};\n\n");
    std::fclose(file);
  }

  scmp_filter_ctx context_;
  std::set<std::string> names_;
};

}  // namespace

int main() {
  std::printf(
      "// Made by syscall_policy.cc.\n#pragma once\n\n#include <linux/filter.h>\n\n"
      "#include <string_view>\n\nnamespace sandbox {\n\n");
  Filter process;
  process.allow(kEveryThread).allow(kDevices).allow(kSaving).allow(kDisk).allow(kVcpu);
  process.allow(kThreads).allow(kSetUp).pretend_absent(SCMP_SYS(clone3));
  process.allow_requests(kBuilding).allow_requests(arch::kBuildingRequests);
  process.allow_requests(kReading).allow_requests(arch::kReadingRequests);
  process.allow_requests(kRunning);
  process.print("Process");
  Filter device;
  device.allow(kEveryThread).allow(kDevices).print("Device");
  Filter saving;
  saving.allow(kEveryThread).allow(kDevices).allow(kSaving);
  saving.allow_requests(kReading).allow_requests(arch::kReadingRequests);
  saving.print("Saving");
  Filter disk;
  disk.allow(kEveryThread).allow(kDisk).print("Disk");
  Filter vcpu;
  vcpu.allow(kEveryThread).allow(kVcpu).allow_requests(kRunning).print("Vcpu");
  Filter file_server;
  file_server.allow(kEveryThread).allow(kFiles).print("FileServer");
  std::printf("}  // namespace sandbox\n");
}
