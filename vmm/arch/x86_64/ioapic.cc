#include "vmm/arch/x86_64/ioapic.h"

#include <algorithm>
#include <cstring>

namespace x86_64 {
namespace {

// Windows of the register file.
constexpr std::uint64_t kSelect = 0x00;
constexpr std::uint64_t kData = 0x10;

// Registers behind the data window.
constexpr std::uint8_t kIdRegister = 0x00;
constexpr std::uint8_t kVersionRegister = 0x01;
constexpr std::uint8_t kArbitrationRegister = 0x02;
constexpr std::uint8_t kFirstEntryRegister = 0x10;

constexpr std::uint32_t kVersion = 0x11 | ((kIoapicPins - 1) << 16);
constexpr std::uint32_t kIdMask = 0x0f000000;

// Bits of a redirection table entry.
constexpr std::uint64_t kVectorMask = 0xff;
constexpr std::uint64_t kDeliveryMask = 0x7ull << 8;
constexpr std::uint64_t kLogicalDestination = 1ull << 11;
constexpr std::uint64_t kDeliveryStatus = 1ull << 12;
constexpr std::uint64_t kRemoteIrr = 1ull << 14;
constexpr std::uint64_t kLevel = 1ull << 15;
constexpr std::uint64_t kMasked = 1ull << 16;
constexpr std::uint64_t kReadOnly = kDeliveryStatus | kRemoteIrr;
constexpr std::uint64_t kImplemented = 0xff0000000001ffff;

kvm::Msi message_of(std::uint64_t entry) {
  kvm::Msi msi;
  msi.address = kLapicAddress | ((entry >> 56) << 12);
  if ((entry & kLogicalDestination) != 0) msi.address |= 1u << 2;
  msi.data = static_cast<std::uint32_t>(entry & (kVectorMask | kDeliveryMask));
  if ((entry & kLevel) != 0) msi.data |= (1u << 15) | (1u << 14);
  return msi;
}

}  // namespace

void Ioapic::pulse(std::uint32_t number) {
  const std::lock_guard lock(mutex_);
  if (number >= pins_.size()) return;
  Pin& pin = pins_[number];
  pin.waiting = true;
  service(pin);
}

void Ioapic::set_level(std::uint32_t number, bool high) {
  const std::lock_guard lock(mutex_);
  if (number >= pins_.size()) return;
  Pin& pin = pins_[number];
  pin.high = high;
  service(pin);
}

void Ioapic::service(Pin& pin) {
  if ((pin.entry & kMasked) != 0) return;
  if ((pin.entry & kLevel) != 0) {
    pin.waiting = false;
    if (!pin.high || (pin.entry & kRemoteIrr) != 0) return;
    pin.entry |= kRemoteIrr;
  } else {
    if (!pin.waiting) return;
    pin.waiting = false;
  }
  sink_.deliver(message_of(pin.entry));
}

void Ioapic::read(std::uint64_t offset, std::span<std::byte> out) {
  const std::lock_guard lock(mutex_);
  std::uint32_t value = 0;
  if (out.size() == sizeof value) {
    if (offset == kSelect) value = selected_;
    if (offset == kData) value = read_register();
  }
  std::fill(out.begin(), out.end(), std::byte{0});
  std::memcpy(out.data(), &value, std::min(out.size(), sizeof value));
}

std::uint32_t Ioapic::read_register() const {
  if (selected_ == kIdRegister || selected_ == kArbitrationRegister) return id_;
  if (selected_ == kVersionRegister) return kVersion;
  if (selected_ < kFirstEntryRegister) return 0;
  const std::size_t number = (selected_ - std::size_t{kFirstEntryRegister}) / 2;
  if (number >= pins_.size()) return 0;
  return static_cast<std::uint32_t>(pins_[number].entry >> ((selected_ & 1) != 0 ? 32 : 0));
}

void Ioapic::write(std::uint64_t offset, std::span<const std::byte> in) {
  const std::lock_guard lock(mutex_);
  std::uint32_t value = 0;
  if (in.size() != sizeof value) return;
  std::memcpy(&value, in.data(), sizeof value);
  if (offset == kSelect) selected_ = static_cast<std::uint8_t>(value);
  if (offset == kData) write_register(value);
}

void Ioapic::write_register(std::uint32_t value) {
  if (selected_ == kIdRegister) id_ = value & kIdMask;
  if (selected_ < kFirstEntryRegister) return;
  const auto number = static_cast<std::uint32_t>((selected_ - kFirstEntryRegister) / 2);
  if (number >= pins_.size()) return;
  const std::uint64_t old = pins_[number].entry;
  const bool upper = (selected_ & 1) != 0;
  write_entry(number, upper ? (old & 0xffffffff) | (std::uint64_t{value} << 32)
                            : (old & ~std::uint64_t{0xffffffff}) | value);
}

void Ioapic::write_entry(std::uint32_t number, std::uint64_t entry) {
  Pin& pin = pins_[number];
  pin.entry = (entry & kImplemented & ~kReadOnly) | (pin.entry & kReadOnly);
  if ((pin.entry & kLevel) == 0) pin.entry &= ~kRemoteIrr;
  publish_level_routes();
  service(pin);
}

void Ioapic::publish_level_routes() {
  std::vector<kvm::MsiRoute> routes;
  for (std::uint32_t number = 0; number < pins_.size(); ++number) {
    const std::uint64_t entry = pins_[number].entry;
    if ((entry & kLevel) != 0 && (entry & kMasked) == 0)
      routes.push_back({number, message_of(entry)});
  }
  const bool same =
      std::equal(routes.begin(), routes.end(), routes_.begin(), routes_.end(),
                 [](const auto& a, const auto& b) { return a.pin == b.pin && a.msi == b.msi; });
  if (same) return;
  routes_ = std::move(routes);
  sink_.set_level_routes(routes_);
}

void Ioapic::end_of_interrupt(std::uint8_t vector) {
  const std::lock_guard lock(mutex_);
  for (Pin& pin : pins_) {
    if ((pin.entry & kRemoteIrr) == 0 || (pin.entry & kVectorMask) != vector) continue;
    pin.entry &= ~kRemoteIrr;
    service(pin);
  }
}

void Ioapic::save(wire::Encoder& out) {
  const std::lock_guard lock(mutex_);
  out.put(selected_);
  out.put(id_);
  out.put(pins_);
}

base::Result<void> Ioapic::restore(wire::Decoder& in) {
  std::uint8_t selected = 0;
  std::uint32_t id = 0;
  std::array<Pin, kIoapicPins> pins;
  in.get(selected);
  in.get(id);
  in.get(pins);
  const bool sound = in.ok() && (id & ~kIdMask) == 0 &&
                     std::all_of(pins.begin(), pins.end(),
                                 [](const Pin& pin) { return (pin.entry & ~kImplemented) == 0; });
  if (!sound) return base::Error{base::Code::kDataLoss, "malformed IOAPIC state"};
  const std::lock_guard lock(mutex_);
  selected_ = selected;
  id_ = id;
  pins_ = pins;
  publish_level_routes();
  return {};
}

}  // namespace x86_64
