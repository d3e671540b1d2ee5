// Provokes an interrupt that QEMU loses (vmm/emulated/agent/pulse.h): a guest that never takes the
// interrupt waiting for it, so that each entry asks for an interrupt window, beside a timer that
// fires all the time. It ends once the timer has fired as often as asked; where a lost interrupt
// stops the machine, it does not end. machine_test.py runs it there.
//
// usage: lost_interrupt_check TIMES
#include <fcntl.h>
#include <linux/kvm.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

namespace {

constexpr std::uint64_t kCodeAddress = 0x1000;
constexpr std::size_t kPage = 4096;
// cli; again: cpuid (always an exit); jmp again
constexpr unsigned char kCode[] = {0xfa, 0x0f, 0xa2, 0xeb, 0xfc};

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "%s: %s\n", what, std::strerror(errno));
  std::_Exit(1);
}

int checked(int result, const char* what) {
  if (result < 0) fail(what);
  return result;
}

[[noreturn]] void run_guest() {
  const int kvm = checked(::open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
  const int vm = checked(::ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
  void* memory = ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) fail("mmap");
  std::memcpy(memory, kCode, sizeof kCode);
  kvm_userspace_memory_region region{};
  region.guest_phys_addr = kCodeAddress;
  region.memory_size = kPage;
  region.userspace_addr = reinterpret_cast<std::uintptr_t>(memory);
  checked(::ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
  const int vcpu = checked(::ioctl(vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
  const int size = checked(::ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");
  auto* run = static_cast<kvm_run*>(
      ::mmap(nullptr, static_cast<std::size_t>(size), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0));
  if (run == MAP_FAILED) fail("mmap of kvm_run");
  kvm_sregs segments;
  checked(::ioctl(vcpu, KVM_GET_SREGS, &segments), "KVM_GET_SREGS");
  segments.cs.base = 0;
  segments.cs.selector = 0;
  checked(::ioctl(vcpu, KVM_SET_SREGS, &segments), "KVM_SET_SREGS");
  kvm_regs registers{};
  registers.rip = kCodeAddress;
  registers.rflags = 2;
  checked(::ioctl(vcpu, KVM_SET_REGS, &registers), "KVM_SET_REGS");
  run->request_interrupt_window = 1;
  checked(::ioctl(vcpu, KVM_RUN, 0), "KVM_RUN");
  std::fprintf(stderr, "the guest left with reason %u\n", run->exit_reason);
  std::_Exit(1);
}

}  // namespace

int main(int argc, char** argv) {
  const long times = argc == 2 ? std::atol(argv[1]) : 0;
  if (times <= 0) {
    std::fprintf(stderr, "usage: lost_interrupt_check TIMES\n");
    return 2;
  }
  std::thread(run_guest).detach();
  const sched_param priority{.sched_priority = 50};
  checked(::sched_setscheduler(0, SCHED_FIFO, &priority), "sched_setscheduler");
  for (long i = 0; i < times; ++i) std::this_thread::sleep_for(std::chrono::microseconds(100));
  std::printf("%ld timers fired\n", times);
  std::fflush(stdout);
  std::_Exit(0);
}
