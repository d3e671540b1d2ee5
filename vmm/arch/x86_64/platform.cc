#include "vmm/arch/x86_64/platform.h"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "vmm/arch/x86_64/cpuid.h"
#include "vmm/arch/x86_64/device_tree.h"
#include "vmm/arch/x86_64/kvm_calls.h"
#include "vmm/arch/x86_64/kvm_table.h"
#include "vmm/arch/x86_64/layout.h"

namespace x86_64 {
namespace {

constexpr std::uint64_t kLeastMemory = 32_MiB;
constexpr std::uint64_t kMostMemory = 1024_GiB;

// reboot=k: the reset line. panic=-1: reset at once. tsc=reliable: no watchdog, the counter is
// virtual. The early console shows warnings and panics until hvc0 is there. dummy.numdummies=0: the
// only links of a container are its own.
constexpr char kCommandLine[] =
    "console=hvc0 earlyprintk=serial,0x3f8,115200 quiet reboot=k panic=-1 tsc=reliable "
    "no_timer_check nomodule dummy.numdummies=0";

/// Whether `word` is one of the words of `text`, which blanks separate.
bool has_word(std::string_view text, std::string_view word) {
  for (std::size_t at = text.find(word); at != text.npos; at = text.find(word, at + 1)) {
    const std::size_t end = at + word.size();
    if ((at == 0 || text[at - 1] == ' ') && (end == text.size() || text[end] == ' ')) return true;
  }
  return false;
}

base::Result<void> fill_random(std::span<std::byte> bytes) {
  if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
    return base::errno_error("getrandom");
  return {};
}

std::vector<memory::GuestMemory::Region> memory_regions(const Platform::Mappings& mappings,
                                                        const RamLayout& layout) {
  std::vector<memory::GuestMemory::Region> regions{{{0}, mappings.ram.first(layout.low_bytes)}};
  if (layout.high_bytes > 0)
    regions.push_back({{kHighRamStart}, mappings.ram.subspan(layout.low_bytes)});
  regions.push_back({window_address(layout), mappings.window, /*read_only=*/true});
  return regions;
}

}  // namespace

Platform::Platform(const kvm::Vm& vm, memory::GuestMemory memory, RamLayout ram,
                   Callbacks callbacks)
    : vm_(vm),
      memory_(std::move(memory)),
      ram_(ram),
      ioapic_(*this),
      serial_(std::move(callbacks.serial_output)),
      reset_line_(std::move(callbacks.reset)) {}

base::Result<void> Platform::check_shape(std::uint32_t vcpus, std::uint64_t memory_bytes) {
  if (vcpus == 0 || vcpus > kMaxVcpus)
    return base::Error{base::Code::kInvalidArgument,
                       "a machine has 1 to " + std::to_string(kMaxVcpus) + " vCPUs"};
  if (memory_bytes % 2_MiB != 0 || memory_bytes < kLeastMemory || memory_bytes > kMostMemory)
    return base::Error{base::Code::kInvalidArgument,
                       "a machine has a multiple of 2 MiB of memory, at least 32 MiB"};
  return {};
}

base::Result<std::unique_ptr<Platform>> Platform::create(const kvm::System& system,
                                                         const kvm::Vm& vm,
                                                         const Mappings& mappings,
                                                         std::uint32_t vcpus, Callbacks callbacks) {
  const RamLayout layout = ram_layout(mappings.ram.size());
  auto memory = memory::GuestMemory::create(memory_regions(mappings, layout));
  if (!memory) return memory.error();

  RETURN_IF_ERROR(set_tss_address(vm, kTssAddress));
  RETURN_IF_ERROR(set_identity_map_address(vm, kIdentityMapAddress));
  RETURN_IF_ERROR(enable_split_irqchip(vm, kIoapicPins));
  std::unique_ptr<Platform> platform(
      new Platform(vm, *std::move(memory), layout, std::move(callbacks)));
  RETURN_IF_ERROR(platform->set_memory_slots(mappings));
  RETURN_IF_ERROR(platform->add_processors(system, vcpus));
  RETURN_IF_ERROR(platform->mmio_.add(kIoapicAddress, kIoapicSize, platform->ioapic_));
  RETURN_IF_ERROR(platform->ports_.add(kSerialPort, kSerialPorts, platform->serial_));
  RETURN_IF_ERROR(platform->ports_.add(kKeyboardPort, 1, platform->reset_line_));
  return platform;
}

base::Result<void> Platform::add_processors(const kvm::System& system, std::uint32_t count) {
  vcpus_.reserve(count);
  for (std::uint32_t id = 0; id < count; ++id) {
    auto vcpu = vm_.create_vcpu(id, system.run_area_size());
    if (!vcpu) return vcpu.error();
    vcpus_.push_back(*std::move(vcpu));
  }
  return {};
}

base::Result<void> Platform::set_memory_slots(const Mappings& mappings) {
  for (const auto& region : memory_.regions())
    if (!region.read_only)
      RETURN_IF_ERROR(vm_.set_memory(slots_.next++, region.start.value, region.host));
  RETURN_IF_ERROR(vm_.set_read_only_memory(slots_.next++, kVirtioStart, mappings.registers));
  slots_.window = mappings.window;
  return vm_.set_read_only_memory(
      slots_.next++, window_address().value,
      slots_.window.first(std::min(slots_.window.size(), kWindowAtFirst)));
}

base::Result<void> Platform::show_window(std::uint64_t bytes) const {
  if (bytes > slots_.window.size())
    return base::Error{base::Code::kInvalidArgument, "the layers do not fit into the window"};
  if (bytes <= kWindowAtFirst) return {};
  return vm_.set_read_only_memory(
      slots_.next, window_address().value + kWindowAtFirst,
      slots_.window.subspan(kWindowAtFirst, round_up(bytes, kPageSize) - kWindowAtFirst));
}

memory::GuestAddress Platform::window_address() const { return x86_64::window_address(ram_); }

std::uint64_t Platform::virtio_address(std::uint32_t slot) {
  return kVirtioStart + slot * kVirtioStride;
}

void Platform::raise(std::uint32_t slot) { ioapic_.pulse(virtio_pin(slot)); }

base::Result<void> Platform::watch_virtio_register(std::uint32_t slot, std::uint64_t offset,
                                                   std::optional<std::uint32_t> value,
                                                   int event_fd) {
  return vm_.add_ioeventfd(virtio_address(slot) + offset, value, event_fd);
}

base::Result<void> Platform::set_processor_cpuids(const kvm::System& system) {
  auto supported = supported_cpuid(system);
  if (!supported) return supported.error();
  auto leaves = machine_cpuid(*std::move(supported), static_cast<std::uint32_t>(vcpus_.size()));
  for (std::uint32_t id = 0; id < vcpus_.size(); ++id) {
    set_processor_id(leaves, id);
    RETURN_IF_ERROR(set_cpuid(vcpus_[id], leaves));
  }
  return {};
}

base::Result<void> Platform::boot(const kvm::System& system, const Boot& boot) {
  RETURN_IF_ERROR(set_processor_cpuids(system));
  auto msrs = saved_msrs(system);
  if (!msrs) return msrs.error();
  msrs_.saved = *std::move(msrs);
  auto initial = read_msrs(vcpus_.front(), msrs_.saved);
  if (!initial) return initial.error();
  msrs_.initial = *std::move(initial);

  Hardware hardware;
  hardware.vcpus = static_cast<std::uint32_t>(vcpus_.size());
  hardware.virtio_slots = boot.virtio_slots;
  hardware.generation_address = generation_page(ram_).value;
  const auto tree = make_device_tree(hardware);
  if (!tree) return tree.error();
  std::array<std::byte, 32> seed;
  RETURN_IF_ERROR(fill_random(seed));
  RETURN_IF_ERROR(renew_generation());

  LinuxBoot linux_boot;
  linux_boot.kernel = boot.kernel;
  linux_boot.initramfs = boot.initramfs;
  linux_boot.command_line = kCommandLine;
  if (!boot.command_line.empty()) linux_boot.command_line += " " + boot.command_line;
  linux_boot.device_tree = *tree;
  linux_boot.rng_seed = seed;
  if (!has_word(boot.command_line, "nokaslr")) {
    LayoutSeed layout;
    RETURN_IF_ERROR(fill_random(std::as_writable_bytes(std::span(&layout, 1))));
    linux_boot.layout = layout;
  }
  const auto entry = load_linux(memory_, ram_, linux_boot);
  if (!entry) return entry.error();
  resumption_.new_generation = false;
  return start_linux(vcpus_.front(), *entry);
}

bool Platform::handle_exit(kvm::Vcpu& vcpu) {
  switch (vcpu.area().exit_reason) {
    case KVM_EXIT_IO:
      handle_port_access(vcpu);
      return true;
    case KVM_EXIT_IOAPIC_EOI:
      ioapic_.end_of_interrupt(vcpu.area().eoi.vector);
      return true;
    default:
      return false;
  }
}

void Platform::handle_port_access(kvm::Vcpu& vcpu) {
  const auto& io = vcpu.area().io;
  const std::size_t size = io.size;
  std::span<std::byte> data = port_data(vcpu);
  for (; size > 0 && data.size() >= size; data = data.subspan(size)) {
    if (io.direction == KVM_EXIT_IO_IN)
      ports_.read(io.port, data.first(size));
    else
      ports_.write(io.port, data.first(size));
  }
}

void Platform::deliver(const kvm::Msi& msi) {
  // KVM refuses a message only if it addresses no local APIC. That is the doing of the guest, which
  // wrote the table; hardware loses such an interrupt too.
  [[maybe_unused]] const auto delivered = vm_.signal_msi(msi);
}

void Platform::set_level_routes(std::span<const kvm::MsiRoute> routes) {
  // Fails only for want of memory. The guest then loses an end-of-interrupt, the host nothing.
  [[maybe_unused]] const auto set = vm_.set_msi_routes(routes);
}

base::Result<std::size_t> Platform::xsave_size() const {
  const auto size = vm_.capability(KVM_CAP_XSAVE2);
  if (!size) return size.error();
  return std::max(static_cast<std::size_t>(*size), sizeof(XsaveArea));
}

base::Result<void> Platform::save(wire::Encoder& out) {
  const auto xsave = xsave_size();
  if (!xsave) return xsave.error();
  SavedTime time;
  for (const kvm::Vcpu& vcpu : vcpus_) {
    auto state = save_vcpu(vcpu, msrs_.saved, msrs_.initial, *xsave);
    if (!state) return state.error();
    time.vcpus.push_back(*std::move(state));
  }
  const auto clock = guest_clock(vm_);
  if (!clock) return clock.error();
  time.clock = *clock;
  out.put(time);
  ioapic_.save(out);
  return {};
}

base::Result<void> Platform::restore(wire::Decoder& in) {
  SavedTime time;
  in.get(time);
  if (!in.ok() || time.vcpus.size() != vcpus_.size())
    return base::Error{base::Code::kDataLoss, "saved processors do not match the machine"};
  RETURN_IF_ERROR(ioapic_.restore(in));
  const auto xsave = xsave_size();
  if (!xsave) return xsave.error();
  for (std::size_t i = 0; i < vcpus_.size(); ++i)
    RETURN_IF_ERROR(restore_vcpu(vcpus_[i], time.vcpus[i], *xsave));
  resumption_.time = std::move(time);
  return {};
}

base::Result<void> Platform::renew_generation() {
  std::array<std::byte, 16> id;
  RETURN_IF_ERROR(fill_random(id));
  RETURN_IF_ERROR(memory_.copy_in(generation_page(ram_), id));
  resumption_.new_generation = true;
  return {};
}

base::Result<void> Platform::resume() {
  if (resumption_.time) {
    // One TSC value for all: Linux takes the counters of one machine for synchronous.
    const std::uint64_t tsc = resumption_.time->vcpus.front().tsc;
    for (std::size_t i = 0; i < vcpus_.size(); ++i) {
      RETURN_IF_ERROR(resume_time(vcpus_[i], resumption_.time->vcpus[i], tsc));
      // Makes the guest's watchdogs forgive the gap. KVM refuses it if the guest does not use
      // kvm-clock.
      [[maybe_unused]] const auto told = vcpus_[i].control(KVM_KVMCLOCK_CTRL, 0, "KVMCLOCK_CTRL");
    }
    RETURN_IF_ERROR(set_guest_clock(vm_, resumption_.time->clock));
    resumption_.time.reset();
  }
  if (std::exchange(resumption_.new_generation, false)) ioapic_.pulse(kGenerationPin);
  return {};
}

}  // namespace x86_64
