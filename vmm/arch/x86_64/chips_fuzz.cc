// Any accesses to the I/O APIC, the serial port and the reset line, in any order, with interrupts
// and saved states in between.
#include <cstdlib>

#include "vmm/arch/x86_64/ioapic.h"
#include "vmm/arch/x86_64/ports.h"
#include "vmm/base/fuzz_input.h"

namespace x86_64 {
namespace {

class CheckingSink final : public InterruptSink {
 public:
  void deliver(const kvm::Msi& msi) override {
    // A message goes to local APICs, whatever the guest has written.
    if ((msi.address & ~std::uint64_t{0xff004}) != kLapicAddress) std::abort();
  }
  void set_level_routes(std::span<const kvm::MsiRoute> routes) override {
    if (routes.size() > kIoapicPins) std::abort();
    for (const kvm::MsiRoute& route : routes)
      if (route.pin >= kIoapicPins) std::abort();
  }
};

void access(memory::Responder& chip, base::FuzzInput& input, std::uint64_t window) {
  const std::uint64_t offset = input.take<std::uint8_t>() % window;
  std::byte bytes[8]{};
  const std::size_t size = std::size_t{1} << (input.take<std::uint8_t>() % 4);
  if (input.take<std::uint8_t>() % 2 == 0) return chip.read(offset, std::span(bytes).first(size));
  const auto value = input.take<std::uint64_t>();
  std::memcpy(bytes, &value, sizeof bytes);
  chip.write(offset, std::span<const std::byte>(bytes).first(size));
}

/// What the model saves it takes back; what it takes from elsewhere, it can work with.
void save_and_restore(Ioapic& ioapic, Ioapic& other, base::FuzzInput& input) {
  wire::Encoder out;
  ioapic.save(out);
  wire::Bytes state = std::move(out).take();
  wire::Decoder same(state);
  if (!other.restore(same) || same.remaining() != 0) std::abort();
  for (unsigned changes = input.take<std::uint8_t>() % 8u; changes > 0; --changes)
    state[input.take<std::uint16_t>() % state.size()] = std::byte{input.take<std::uint8_t>()};
  wire::Decoder changed(state);
  (void)ioapic.restore(changed);
}

}  // namespace
}  // namespace x86_64

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace x86_64;  // NOLINT
  base::FuzzInput input(data, size);
  CheckingSink sink;
  Ioapic ioapic(sink);
  SerialPort serial([](std::string text) {
    if (text.empty() || text.size() > SerialPort::kMostBuffered) std::abort();
  });
  ResetLine reset([] {});
  while (!input.empty()) {
    switch (input.take<std::uint8_t>() % 8) {
      case 0:
      case 1:
      case 2:
        access(ioapic, input, kIoapicSize);
        break;
      case 3:
        access(serial, input, kSerialPorts);
        access(reset, input, 1);
        break;
      case 4:
        ioapic.pulse(input.take<std::uint8_t>() % 32u);
        break;
      case 5:
        ioapic.set_level(input.take<std::uint8_t>() % 32u, input.take<std::uint8_t>() % 2 == 1);
        break;
      case 6:
        ioapic.end_of_interrupt(input.take<std::uint8_t>());
        break;
      default: {
        Ioapic other(sink);
        save_and_restore(ioapic, other, input);
      }
    }
  }
  return 0;
}
