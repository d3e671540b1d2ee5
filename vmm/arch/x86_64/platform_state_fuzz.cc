// Any bytes as a template's state of the platform: vCPUs, their clocks, the I/O APIC. KVM is not
// there: ioctl() below reads and writes what the kernel would, so that a sanitizer sees a structure
// that is shorter than KVM takes it for, and tells whether values passed that must not.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdarg>
#include <cstdlib>

#include "vmm/arch/x86_64/kvm_calls.h"
#include "vmm/arch/x86_64/kvm_table.h"
#include "vmm/arch/x86_64/layout.h"
#include "vmm/arch/x86_64/platform.h"
#include "vmm/base/fuzz_input.h"

namespace {

constexpr std::size_t kXsaveSize =
    2 * sizeof(x86_64::XsaveArea);  // of a host with larger registers
constexpr int kTscKhz = 2'000'000;
volatile unsigned seen;  // NOLINT: what the "kernel" has read must not be optimized away

void read_all(const void* from, std::size_t size) {
  unsigned sum = 0;
  for (std::size_t i = 0; i < size; ++i) sum += static_cast<const unsigned char*>(from)[i];
  seen = sum;
}

int new_file() {
  const int fd = ::memfd_create("kvm", MFD_CLOEXEC);
  if (fd < 0 || ::ftruncate(fd, 4096) != 0) std::abort();
  return fd;
}

template <typename Entry>
int read_table(const void* table, std::size_t most) {
  kvm::CountAndPadding header;
  std::memcpy(&header, table, sizeof header);
  if (header.count > most) std::abort();  // KVM refuses it; the program must not get there
  read_all(static_cast<const std::byte*>(table) + sizeof header, header.count * sizeof(Entry));
  return static_cast<int>(header.count);
}

int kernel(unsigned long request, void* argument) {
  switch (request) {
    case KVM_GET_API_VERSION:
      return KVM_API_VERSION;
    case KVM_CHECK_EXTENSION:
      return static_cast<int>(kXsaveSize);
    case KVM_GET_VCPU_MMAP_SIZE:
      return 4096;
    case KVM_CREATE_VM:
    case KVM_CREATE_VCPU:
      return new_file();
    case KVM_GET_TSC_KHZ:
      return kTscKhz;
    case KVM_SET_TSC_KHZ:
      errno = EINVAL;
      return -1;
    case x86_64::kSetXsave:
      read_all(argument, kXsaveSize);
      return 0;
    case x86_64::kSetCpuid2:
      read_table<kvm_cpuid_entry2>(argument, x86_64::kMostCpuidLeaves);
      return 0;
    case x86_64::kSetMsrs:
      return read_table<kvm_msr_entry>(argument, x86_64::kMostMsrsPerCall);
    case kvm::kSetGsiRouting:
      read_table<kvm_irq_routing_entry>(argument, 4096);
      return 0;
    case KVM_SET_TSS_ADDR:  // a number
    case KVM_KVMCLOCK_CTRL:
      return 0;
    default:
      if ((_IOC_DIR(request) & _IOC_WRITE) != 0) read_all(argument, _IOC_SIZE(request));
      return 0;
  }
}

}  // namespace

extern "C" int ioctl(int /*fd*/, unsigned long request, ...) noexcept {
  va_list arguments;
  va_start(arguments, request);
  void* const argument = va_arg(arguments, void*);
  va_end(arguments);
  return kernel(request, argument);
}

namespace {

/// Memory of a machine that never runs.
struct Mapped {
  base::MappedRegion ram = map(4u << 20);
  base::MappedRegion registers = map(x86_64::kVirtioSlots * x86_64::kVirtioStride);
  base::MappedRegion window = map(4096);

  static base::MappedRegion map(std::size_t size) {
    return *base::MappedRegion::map(size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
  }
};

/// One vCPU's saved state, whole, as the input changes it.
wire::Bytes any_state(base::FuzzInput& input) {
  x86_64::VcpuState vcpu;
  const auto fill = [&](std::vector<std::byte>& field, std::size_t size) {
    const auto odd = input.take<std::uint8_t>();
    if (odd % 16 == 0) size = input.take<std::uint16_t>();
    field.resize(size, std::byte{odd});
  };
  fill(vcpu.cpuid, input.take<std::uint8_t>() * sizeof(kvm_cpuid_entry2));
  fill(vcpu.mp_state, sizeof(kvm_mp_state));
  fill(vcpu.regs, sizeof(kvm_regs));
  fill(vcpu.sregs, sizeof(kvm_sregs));
  fill(vcpu.xsave, kXsaveSize);
  fill(vcpu.xcrs, sizeof(kvm_xcrs));
  fill(vcpu.debugregs, sizeof(kvm_debugregs));
  fill(vcpu.lapic, sizeof(kvm_lapic_state));
  fill(vcpu.events, sizeof(kvm_vcpu_events));
  vcpu.msrs.resize(input.take<std::uint16_t>() % 1024u);
  vcpu.tsc = input.take<std::uint64_t>();
  vcpu.tsc_deadline = input.take<std::uint64_t>();
  vcpu.tsc_khz = input.take<std::uint8_t>() % 4 == 0 ? input.take<std::uint32_t>() : kTscKhz;
  wire::Encoder out;
  out.put(input.take<std::uint64_t>());  // the clock
  const std::uint32_t count = input.take<std::uint8_t>() % 8 == 0 ? input.take<std::uint8_t>() : 1;
  out.put(count);
  for (std::uint32_t i = 0; i < count % 4; ++i) out.put(vcpu);
  const auto ioapic = input.take_bytes(1024);
  out.put_bytes(ioapic.data(), ioapic.size());
  return std::move(out).take();
}

void restore(std::span<const std::byte> state) {
  static const kvm::System system =
      *kvm::System::adopt(base::UniqueFd(new_file()), x86_64::kRequirements);
  static const Mapped mapped;
  const auto vm = system.create_vm();
  if (!vm) std::abort();
  auto platform =
      x86_64::Platform::create(system, *vm,
                               {.ram = mapped.ram.bytes(),
                                .registers = mapped.registers.bytes(),
                                .window = mapped.window.bytes()},
                               1, {.serial_output = [](std::string) {}, .reset = [] {}});
  if (!platform) std::abort();
  wire::Decoder in(state);
  if (!(*platform)->restore(in)) return;
  if (!(*platform)->renew_generation() || !(*platform)->resume()) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  base::FuzzInput input(data, size);
  if (input.take<std::uint8_t>() % 4 == 0) {
    restore(std::as_bytes(input.take_bytes(size)));
  } else {
    restore(any_state(input));
  }
  return 0;
}
