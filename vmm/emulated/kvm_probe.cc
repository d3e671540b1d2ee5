// containervm-kvm-probe: finds out whether /dev/kvm can run an ordinary kernel, by running a tiny
// 64-bit guest that executes what every kernel does early. A device node that opens proves little:
// on some hosts KVM interprets guest kernel code and fails on instructions it does not know.
//
// usage: containervm-kvm-probe
// Prints one line. Exit status: 0 usable; 1 not usable, the line says why; 2 no /dev/kvm that
// opens.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"
#include "vmm/emulated/linux_kvm.h"

// The guest: each step announces itself on port 0x10 before it runs, so the last number heard names
// the step that failed. Ends with step 0.
extern "C" const char probe_guest_begin[];
extern "C" const char probe_guest_end[];
asm(R"(
    .pushsection .rodata
    .global probe_guest_begin, probe_guest_end
    .macro step number
      mov $\number, %al
      out %al, $0x10
    .endm
probe_guest_begin:
    step 1                      # cpuid
    xor %eax, %eax
    cpuid
    step 2                      # rdmsr, wrmsr: EFER
    mov $0xc0000080, %ecx
    rdmsr
    wrmsr
    step 3                      # control registers, TLB
    mov %cr3, %rax
    mov %rax, %cr3
    invlpg (0x5000)
    step 4                      # xsetbv, xgetbv: x87 and SSE
    mov $1, %eax
    xor %ecx, %ecx
    cpuid
    bt $26, %ecx
    jnc 1f
    mov %cr4, %rax
    or $0x40000, %rax
    mov %rax, %cr4
    xor %ecx, %ecx
    xor %edx, %edx
    mov $3, %eax
    xsetbv
    xgetbv
    step 5                      # xsave, xrstor
    mov $3, %eax
    xor %edx, %edx
    xsave (0x6000)
    xrstor (0x6000)
1:  step 6                      # cmpxchg16b
    xor %eax, %eax
    xor %edx, %edx
    mov $1, %ebx
    mov $2, %ecx
    lock cmpxchg16b (0x5000)
    step 7                      # its result is right
    cmpq $1, 0x5000
    jne 2f
    cmpq $2, 0x5008
    jne 2f
    step 8                      # swapgs, GS base
    mov $0xc0000101, %ecx
    mov $0x7000, %eax
    xor %edx, %edx
    wrmsr
    swapgs
    swapgs
    movb $1, %gs:0
    cmpb $1, 0x7000
    jne 2f
    step 9                      # a loop long enough to be interrupted
    mov $20000000, %ecx
3:  dec %ecx
    jnz 3b
    step 0
2:  hlt
    jmp 2b
probe_guest_end:
    .popsection
)");

namespace {

constexpr std::array<const char*, 10> kSteps{"the end",
                                             "cpuid",
                                             "rdmsr/wrmsr",
                                             "control registers",
                                             "xsetbv",
                                             "xsave/xrstor",
                                             "cmpxchg16b",
                                             "the result of cmpxchg16b",
                                             "swapgs and GS base",
                                             "a long loop"};

constexpr std::size_t kMemorySize = 64u << 10;
constexpr std::uint64_t kPageTables = 0x1000;  // three pages
constexpr std::uint64_t kCode = 0x4000;
constexpr int kStepPort = 0x10;
constexpr int kTimeoutMs = 10'000;

using base::Result;
using base::UniqueFd;

base::Error failure(std::string text) { return {base::Code::kNotSupported, std::move(text)}; }

template <typename Argument>
Result<int> call(const UniqueFd& fd, unsigned long request, Argument argument, const char* name) {
  const int value = ::ioctl(fd.get(), request, argument);
  if (value < 0) return base::errno_error(name);
  return value;
}

/// Identity-maps the first 2 MiB: PML4, PDPT, one large page.
void write_page_tables(std::span<std::byte> memory) {
  const std::array<std::uint64_t, 3> entries{kPageTables + 0x1003, kPageTables + 0x2003, 0x83};
  for (std::size_t i = 0; i < entries.size(); ++i)
    std::memcpy(&memory[kPageTables + i * 0x1000], &entries[i], sizeof entries[i]);
}

kvm_segment flat_segment(std::uint8_t type, bool code) {
  kvm_segment segment{};
  segment.limit = 0xffffffff;
  segment.selector = code ? 0x8 : 0x10;
  segment.type = type;
  segment.present = 1;
  segment.s = 1;
  segment.g = 1;
  segment.l = code ? 1 : 0;
  segment.db = code ? 0 : 1;
  return segment;
}

Result<void> set_up_vcpu(const UniqueFd& kvm, const UniqueFd& vcpu) {
  constexpr std::size_t kEntries = 256;
  alignas(kvm_cpuid2)
      std::array<std::byte, sizeof(kvm_cpuid2) + kEntries * sizeof(kvm_cpuid_entry2)>
          buffer{};
  auto* cpuid = reinterpret_cast<kvm_cpuid2*>(buffer.data());
  cpuid->nent = kEntries;
  if (auto r = call(kvm, KVM_GET_SUPPORTED_CPUID, cpuid, "KVM_GET_SUPPORTED_CPUID"); !r)
    return r.error();
  if (auto r = call(vcpu, KVM_SET_CPUID2, cpuid, "KVM_SET_CPUID2"); !r) return r.error();

  kvm_sregs sregs{};
  if (auto r = call(vcpu, KVM_GET_SREGS, &sregs, "KVM_GET_SREGS"); !r) return r.error();
  sregs.cs = flat_segment(11, true);
  sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = flat_segment(3, false);
  sregs.cr3 = kPageTables;
  sregs.cr4 = 0x620;       // PAE, OSFXSR, OSXMMEXCPT
  sregs.cr0 = 0x80000033;  // PG, NE, ET, MP, PE
  sregs.efer = 0x500;      // LMA, LME
  if (auto r = call(vcpu, KVM_SET_SREGS, &sregs, "KVM_SET_SREGS"); !r) return r.error();

  kvm_regs regs{};
  regs.rip = kCode;
  regs.rsp = 0x8000;
  regs.rflags = 2;
  if (auto r = call(vcpu, KVM_SET_REGS, &regs, "KVM_SET_REGS"); !r) return r.error();
  return {};
}

/// Runs the guest until it announces step 0, the end.
Result<void> run_guest(const UniqueFd& vcpu, const kvm_run& run) {
  std::size_t step = 0;
  for (;;) {
    if (::ioctl(vcpu.get(), KVM_RUN, 0) < 0 && errno != EINTR)
      return failure(std::string("KVM_RUN fails at ") + kSteps[step] + ": " + std::strerror(errno));
    if (run.exit_reason == KVM_EXIT_INTERNAL_ERROR)
      return failure(std::string("this KVM cannot execute ") + kSteps[step] +
                     " in a guest's kernel (internal error " +
                     std::to_string(run.internal.suberror) + ")");
    if (run.exit_reason != KVM_EXIT_IO || run.io.port != kStepPort)
      return failure(std::string("the guest fails at ") + kSteps[step] + " (exit reason " +
                     std::to_string(run.exit_reason) + ")");
    step =
        std::to_integer<std::size_t>(reinterpret_cast<const std::byte*>(&run)[run.io.data_offset]);
    if (step == 0) return {};
    if (step >= kSteps.size())
      return failure("the guest announced a step that the probe does not have");
  }
}

Result<void> check_capabilities(const UniqueFd& kvm) {
  struct Capability {
    int number;
    const char* name;
  };
  for (const auto& [number, name] :
       {Capability{KVM_CAP_SPLIT_IRQCHIP, "split irqchip"}, Capability{KVM_CAP_IRQFD, "irqfd"},
        Capability{KVM_CAP_IOEVENTFD, "ioeventfd"},
        Capability{KVM_CAP_IMMEDIATE_EXIT, "immediate exit"}, Capability{KVM_CAP_XCRS, "XCRs"}}) {
    if (::ioctl(kvm.get(), KVM_CHECK_EXTENSION, number) <= 0)
      return failure(std::string("this KVM has no ") + name);
  }
  return {};
}

Result<void> probe() {
  UniqueFd kvm(::open("/dev/kvm", O_RDWR | O_CLOEXEC));
  if (!kvm) return base::Error{base::Code::kNotFound, "/dev/kvm: " + std::string(strerror(errno))};
  RETURN_IF_ERROR(check_capabilities(kvm));
  const UniqueFd vm(::ioctl(kvm.get(), KVM_CREATE_VM, 0));
  if (!vm) return base::errno_error("KVM_CREATE_VM");

  void* memory =
      ::mmap(nullptr, kMemorySize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return base::errno_error("mmap");
  const std::span bytes(static_cast<std::byte*>(memory), kMemorySize);
  write_page_tables(bytes);
  std::memcpy(&bytes[kCode], probe_guest_begin,
              static_cast<std::size_t>(probe_guest_end - probe_guest_begin));
  const kvm_userspace_memory_region region{
      .slot = 0,
      .flags = 0,
      .guest_phys_addr = 0,
      .memory_size = kMemorySize,
      .userspace_addr = reinterpret_cast<std::uint64_t>(memory)};
  if (auto r = call(vm, KVM_SET_USER_MEMORY_REGION, &region, "KVM_SET_USER_MEMORY_REGION"); !r)
    return r.error();

  const UniqueFd vcpu(::ioctl(vm.get(), KVM_CREATE_VCPU, 0));
  if (!vcpu) return base::errno_error("KVM_CREATE_VCPU");
  const int run_size = ::ioctl(kvm.get(), KVM_GET_VCPU_MMAP_SIZE, 0);
  if (run_size < static_cast<int>(sizeof(kvm_run))) return failure("KVM_GET_VCPU_MMAP_SIZE");
  void* run = ::mmap(nullptr, static_cast<std::size_t>(run_size), PROT_READ | PROT_WRITE,
                     MAP_SHARED, vcpu.get(), 0);
  if (run == MAP_FAILED) return base::errno_error("mapping the vCPU");
  RETURN_IF_ERROR(set_up_vcpu(kvm, vcpu));
  return run_guest(vcpu, *static_cast<const kvm_run*>(run));
}

int run_and_tell() {
  const auto result = probe();
  if (result) {
    std::puts("/dev/kvm runs an ordinary guest");
    return 0;
  }
  std::puts(result.error().message.c_str());
  return result.error().code == base::Code::kNotFound ||
                 result.error().code == base::Code::kPermissionDenied
             ? 2
             : 1;
}

}  // namespace

int main() {
  // A guest that hangs must not hang us: it runs in a child with a time limit.
  const pid_t child = ::fork();
  if (child < 0) return 1;
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    const int status = run_and_tell();
    std::fflush(stdout);
    ::_exit(status);
  }
  for (int waited = 0; waited < kTimeoutMs; waited += 10) {
    int status = 0;
    if (::waitpid(child, &status, WNOHANG) == child) {
      if (WIFEXITED(status)) return WEXITSTATUS(status);
      std::puts("the probe was killed while it ran a guest");
      return 1;
    }
    ::poll(nullptr, 0, 10);
  }
  ::kill(child, SIGKILL);
  std::printf("the guest hangs: it did not finish in %d s\n", kTimeoutMs / 1000);
  return 1;
}
