// Platform: the part of a machine that is x86-64's: processors, interrupt controllers, ports, the
// physical address layout, the start of Linux, and how all of that is saved. The machine above
// knows nothing of it.
//
// Order: create(); then boot() or restore(); resume() just before the vCPUs run.
// Threads: set-up, save() and restore() from the device thread while no vCPU runs; raise() and
// handle_exit() from any.
// Ownership: the VM, the mappings and what the callbacks use outlive it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "vmm/arch/x86_64/ioapic.h"
#include "vmm/arch/x86_64/linux_boot.h"
#include "vmm/arch/x86_64/ports.h"
#include "vmm/arch/x86_64/vcpu_state.h"
#include "vmm/kvm/system.h"
#include "vmm/memory/address_bus.h"
#include "vmm/memory/guest_memory.h"

namespace x86_64 {

class Platform final : private InterruptSink {
 public:
  struct Callbacks {
    SerialPort::Emit serial_output;  // both are called on vCPU threads
    std::function<void()> reset;
  };

  /// The parts of this process's memory that the guest sees.
  struct Mappings {
    std::span<std::byte> ram;
    /// What the guest reads in the virtio-mmio slots, from the first slot on. Its writes go to
    /// mmio().
    std::span<std::byte> registers;
    /// What the guest reads from window_address() on, as far as show_window() says. Its writes go
    /// to mmio(), where nobody takes them.
    std::span<std::byte> window;
  };

  /// Puts interrupt controllers, `mappings` and `vcpus` processors into `vm`. The caller has asked
  /// check_shape() before.
  static base::Result<std::unique_ptr<Platform>> create(const kvm::System& system,
                                                        const kvm::Vm& vm, const Mappings& mappings,
                                                        std::uint32_t vcpus, Callbacks callbacks);

  /// kInvalidArgument with the reason if there is no such machine.
  static base::Result<void> check_shape(std::uint32_t vcpus, std::uint64_t memory_bytes);

  /// The RAM and the window that create() was given, at their guest-physical places.
  const memory::GuestMemory& memory() const { return memory_; }
  memory::GuestAddress window_address() const;
  /// Before the vCPUs run, once: makes the first `bytes` of the window readable by the guest.
  /// kInvalidArgument if the window is smaller.
  base::Result<void> show_window(std::uint64_t bytes) const;

  std::span<kvm::Vcpu> vcpus() { return vcpus_; }

  /// How many virtio-mmio slots a machine can have.
  static constexpr std::size_t kVirtioSlots = x86_64::kVirtioSlots;
  /// Where virtio-mmio slot `slot` has its registers.
  static std::uint64_t virtio_address(std::uint32_t slot);
  /// Interrupts the guest on behalf of that slot.
  void raise(std::uint32_t slot);

  /// 4-byte writes (of `value`, if given) to a slot's register signal `event_fd`; no vCPU exits.
  base::Result<void> watch_virtio_register(std::uint32_t slot, std::uint64_t offset,
                                           std::optional<std::uint32_t> value, int event_fd);

  memory::AddressBus& mmio() { return mmio_; }

  struct Boot {
    int kernel = -1;
    int initramfs = -1;
    std::string command_line;  // appended to the platform's own
    std::vector<std::uint32_t> virtio_slots;
  };
  base::Result<void> boot(const kvm::System& system, const Boot& boot);

  /// Handles an exit that only x86 has; false if the vCPU's exit is of another kind.
  bool handle_exit(kvm::Vcpu& vcpu);

  /// Only for a machine that was booted: a restored one has not asked KVM which registers to save.
  base::Result<void> save(wire::Encoder& out);
  /// Into a fresh platform. kDataLoss if the state does not fit the machine.
  base::Result<void> restore(wire::Decoder& in);

  /// Gives a restored machine a new generation ID (fresh random bytes), of which resume() tells the
  /// guest.
  base::Result<void> renew_generation();

  /// Starts the guest's clocks, from the saved instant if it was restored.
  base::Result<void> resume();

 private:
  Platform(const kvm::Vm& vm, memory::GuestMemory memory, RamLayout ram, Callbacks callbacks);

  base::Result<void> set_memory_slots(const Mappings& mappings);

  void deliver(const kvm::Msi& msi) override;
  void set_level_routes(std::span<const kvm::MsiRoute> routes) override;
  base::Result<void> add_processors(const kvm::System& system, std::uint32_t count);
  base::Result<void> set_processor_cpuids(const kvm::System& system);
  base::Result<std::size_t> xsave_size() const;
  void handle_port_access(kvm::Vcpu& vcpu);

  struct SavedTime {
    std::uint64_t clock = 0;  // nanoseconds of kvm-clock
    std::vector<VcpuState> vcpus;
    static void fields(auto& self, auto&& visit) { visit(self.clock, self.vcpus); }
  };

  struct MemorySlots {
    std::uint32_t next = 0;
    std::span<std::byte> window;
  };
  struct Msrs {
    std::vector<std::uint32_t> saved;  // what save() saves
    std::vector<MsrValue> initial;
  };
  /// What resume() has to do for a machine that was restored.
  struct Resumption {
    std::optional<SavedTime> time;
    bool new_generation = false;
  };

  const kvm::Vm& vm_;
  memory::GuestMemory memory_;
  RamLayout ram_;
  MemorySlots slots_;
  std::vector<kvm::Vcpu> vcpus_;
  Ioapic ioapic_;
  SerialPort serial_;
  ResetLine reset_line_;
  memory::AddressBus mmio_;
  memory::AddressBus ports_;
  Msrs msrs_;  // filled by boot() only
  Resumption resumption_;
};

}  // namespace x86_64
