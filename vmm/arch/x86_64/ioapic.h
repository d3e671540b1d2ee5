// Ioapic: the I/O interrupt controller, with the local APICs in the kernel ("split irqchip").
//
// Devices raise pins; the guest's redirection table says which message each pin sends.
// Threads: any; the model has a lock of its own.
// Trust: every register value is the guest's.
// Spec: Intel 82093AA datasheet. One difference: an edge on a masked pin is kept and sent when the
// pin is unmasked (the hardware forgets it), so that no device ever waits for a lost interrupt.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

#include "vmm/arch/x86_64/layout.h"
#include "vmm/base/result.h"
#include "vmm/base/wire.h"
#include "vmm/kvm/vm.h"
#include "vmm/memory/address_bus.h"

namespace x86_64 {

/// Takes what the IOAPIC says to the local APICs: the Platform in a machine, a recorder in tests.
class InterruptSink {
 public:
  virtual ~InterruptSink() = default;
  virtual void deliver(const kvm::Msi& msi) = 0;
  /// Names the level-triggered pins in use, whose ends of interrupt must be reported to
  /// end_of_interrupt().
  virtual void set_level_routes(std::span<const kvm::MsiRoute> routes) = 0;
};

class Ioapic final : public memory::Responder {
 public:
  explicit Ioapic(InterruptSink& sink) : sink_(sink) {}
  Ioapic(const Ioapic&) = delete;
  Ioapic& operator=(const Ioapic&) = delete;

  /// An edge on `pin`: sends one message.
  void pulse(std::uint32_t pin);
  /// The level of `pin`: messages are sent for as long as it is high, one per end of interrupt.
  void set_level(std::uint32_t pin, bool high);

  /// A guest access at `offset` of the register window. Other sizes than 4 read as 0 and do
  /// nothing.
  void read(std::uint64_t offset, std::span<std::byte> out) override;
  void write(std::uint64_t offset, std::span<const std::byte> in) override;

  /// A local APIC finished `vector`.
  void end_of_interrupt(std::uint8_t vector);

  void save(wire::Encoder& out);
  /// kDataLoss, and nothing changes, if the state could not have been saved by this model.
  base::Result<void> restore(wire::Decoder& in);

 private:
  struct Pin {
    std::uint64_t entry = 0;  // redirection table entry
    bool high = false;        // its line, if level-triggered
    bool waiting = false;     // an edge that has not been sent
    static void fields(auto& self, auto&& visit) { visit(self.entry, self.high, self.waiting); }
  };

  std::uint32_t read_register() const;
  void write_register(std::uint32_t value);
  void write_entry(std::uint32_t pin, std::uint64_t entry);
  void service(Pin& pin);
  void publish_level_routes();

  InterruptSink& sink_;
  std::mutex mutex_;
  std::uint8_t selected_ = 0;
  std::uint32_t id_ = 0;
  std::array<Pin, kIoapicPins> pins_;
  std::vector<kvm::MsiRoute> routes_;
};

}  // namespace x86_64
