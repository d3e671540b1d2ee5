// Build-time program: writes sandbox_filters.h, the seccomp filters of sandbox.h as BPF. Compiling
// them here keeps libseccomp, and the time it takes, out of every start of a machine.
//
// Three filters, each narrower than the one before it; a thread gets them one on top of the other.
//   process   everything a monitor does from its sandbox on
//   running   without what builds a machine
//   vcpu      what a vCPU thread does
#include <asm/kvm.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <vector>

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

using Rules = std::vector<Rule>;

/// What malloc, mutexes, threads and the clock need.
const Rules kRuntime = {
    {SCMP_SYS(futex), {}},
    {SCMP_SYS(mmap), {{2, PROT_EXEC, 0}}},
    {SCMP_SYS(mprotect), {{2, PROT_EXEC, 0}}},
    {SCMP_SYS(mremap), {}},
    {SCMP_SYS(munmap), {}},
    {SCMP_SYS(madvise), {}},
    {SCMP_SYS(brk), {}},
    {SCMP_SYS(rt_sigreturn), {}},
    {SCMP_SYS(rt_sigprocmask), {}},
    {SCMP_SYS(sched_yield), {}},
    {SCMP_SYS(clock_gettime), {}},
    {SCMP_SYS(gettid), {}},
    {SCMP_SYS(getpid), {}},
    {SCMP_SYS(restart_syscall), {}},
    {SCMP_SYS(exit), {}},
    {SCMP_SYS(exit_group), {}},
    {SCMP_SYS(write), {}},  // event descriptors, log
};

/// Devices and the control socket, on descriptors that were handed in.
const Rules kDevices = {
    {SCMP_SYS(epoll_wait), {}},
    {SCMP_SYS(epoll_pwait), {}},
    {SCMP_SYS(epoll_ctl), {}},
    {SCMP_SYS(poll), {}},
    {SCMP_SYS(eventfd2), {}},
    {SCMP_SYS(read), {}},
    {SCMP_SYS(readv), {}},
    {SCMP_SYS(writev), {}},
    {SCMP_SYS(pread64), {}},
    {SCMP_SYS(preadv), {}},
    {SCMP_SYS(preadv2), {}},
    {SCMP_SYS(pwrite64), {}},
    {SCMP_SYS(pwritev), {}},
    {SCMP_SYS(pwritev2), {}},
    {SCMP_SYS(fallocate), {}},
    {SCMP_SYS(fdatasync), {}},
    {SCMP_SYS(fsync), {}},
    {SCMP_SYS(ftruncate), {}},
    {SCMP_SYS(fstat), {}},
    {SCMP_SYS(newfstatat), {{3, AT_EMPTY_PATH, AT_EMPTY_PATH}}},
    {SCMP_SYS(lseek), {}},
    {SCMP_SYS(recvmsg), {}},
    {SCMP_SYS(recvfrom), {}},
    {SCMP_SYS(sendmsg), {}},
    {SCMP_SYS(sendto), {{4, ~scmp_datum_t{0}, 0}}},  // no address: connected sockets only
    {SCMP_SYS(accept4), {}},
    {SCMP_SYS(shutdown), {}},
    {SCMP_SYS(close), {}},
    {SCMP_SYS(fcntl), {{1, kAllBits, F_GETFL}}},
    {SCMP_SYS(fcntl), {{1, kAllBits, F_SETFL}}},
    {SCMP_SYS(getrandom), {}},
    {SCMP_SYS(ioctl), {{1, kAllBits, FIONREAD}}},
    {SCMP_SYS(ioctl), {{1, kAllBits, TUNSETVNETHDRSZ}}},
    {SCMP_SYS(ioctl), {{1, kAllBits, TUNSETOFFLOAD}}},
    {SCMP_SYS(tgkill), {{2, kAllBits, SIGUSR1}}},  // kicks a vCPU thread
};

/// Starting threads, and narrowing their filters. clone3 hides its flags from us: glibc falls back
/// to clone when it is told that clone3 does not exist.
constexpr scmp_datum_t kThreadFlags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND |
                                      CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS |
                                      CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
const Rules kThreads = {
    {SCMP_SYS(clone), {{0, ~scmp_datum_t{0}, kThreadFlags}}},
    {SCMP_SYS(rt_sigaction), {}},  // glibc, at the first thread
    {SCMP_SYS(set_robust_list), {}},
    {SCMP_SYS(rseq), {}},
    {SCMP_SYS(sched_getaffinity), {}},
    {SCMP_SYS(seccomp), {{0, kAllBits, 1}}},  // SECCOMP_SET_MODE_FILTER
};

/// Only before a machine runs.
const Rules kSetUp = {
    {SCMP_SYS(epoll_create1), {}},
    {SCMP_SYS(timerfd_create), {}},
    {SCMP_SYS(timerfd_settime), {}},
};

/// KVM requests that build a machine.
constexpr unsigned long kBuilding[] = {
    KVM_GET_API_VERSION,
    KVM_CREATE_VM,
    KVM_GET_VCPU_MMAP_SIZE,
    KVM_SET_TSS_ADDR,
    KVM_SET_IDENTITY_MAP_ADDR,
    KVM_ENABLE_CAP,
    KVM_CREATE_VCPU,
    kvm::kGetSupportedCpuid,
    kvm::kSetCpuid2,
    KVM_SET_MP_STATE,
    KVM_SET_REGS,
    KVM_SET_SREGS,
    kvm::kSetXsave,
    KVM_SET_XCRS,
    KVM_SET_DEBUGREGS,
    KVM_SET_LAPIC,
    KVM_SET_VCPU_EVENTS,
    KVM_SET_TSC_KHZ,
    KVM_IOEVENTFD,
};

/// KVM requests of a machine that runs, starts to run or is saved.
constexpr unsigned long kServing[] = {
    KVM_CHECK_EXTENSION, kvm::kGetMsrIndexList,
    kvm::kGetMsrs,       kvm::kSetMsrs,
    kvm::kGetCpuid2,     KVM_GET_MP_STATE,
    KVM_GET_REGS,        KVM_GET_SREGS,
    kvm::kGetXsave2,     KVM_GET_XCRS,
    KVM_GET_DEBUGREGS,   KVM_GET_LAPIC,
    KVM_GET_VCPU_EVENTS, KVM_GET_TSC_KHZ,
    KVM_GET_CLOCK,       KVM_SET_CLOCK,
    KVM_KVMCLOCK_CTRL,   KVM_SET_USER_MEMORY_REGION,  // a clone gets layers after it was restored
};

/// KVM requests of a vCPU thread: run, and what its IOAPIC accesses cause.
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

  void print(const char* name) const {
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
    std::printf("inline constexpr sock_filter %s[] = {\n", name);
    while (std::fread(&instruction, sizeof instruction, 1, file) == 1)
      std::printf("    {0x%x, %u, %u, 0x%x},\n", instruction.code, instruction.jump_true,
                  instruction.jump_false, instruction.value);
    std::printf("};\n\n");
    std::fclose(file);
  }

 private:
  scmp_filter_ctx context_;
};

}  // namespace

int main() {
  std::printf(
      "// Made by syscall_policy.cc.\n#pragma once\n\n#include <linux/filter.h>\n\n"
      "namespace sandbox {\n\n");
  Filter process;
  process.allow(kRuntime).allow(kSetUp).allow(kDevices).allow(kThreads).pretend_absent(
      SCMP_SYS(clone3));
  process.allow_requests(kBuilding).allow_requests(kServing).allow_requests(kRunning);
  process.print("kProcessFilter");
  Filter running;
  running.allow(kRuntime).allow(kDevices).allow(kThreads).pretend_absent(SCMP_SYS(clone3));
  running.allow_requests(kServing).allow_requests(kRunning);
  running.print("kRunningFilter");
  Filter vcpu;
  vcpu.allow(kRuntime).allow_requests(kRunning);
  vcpu.print("kVcpuFilter");
  std::printf("}  // namespace sandbox\n");
}
