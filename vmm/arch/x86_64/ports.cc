#include "vmm/arch/x86_64/ports.h"

#include <algorithm>

namespace x86_64 {
namespace {

constexpr std::uint64_t kTransmit = 0;
constexpr std::uint64_t kInterruptCause = 2;
constexpr std::uint64_t kLineControl = 3;
constexpr std::uint64_t kLineStatus = 5;

constexpr std::byte kNoInterrupt{0x01};
constexpr std::byte kDivisorLatch{0x80};
constexpr std::byte kReadyToSend{0x60};

constexpr std::byte kPulseReset{0xfe};

}  // namespace

void SerialPort::read(std::uint64_t offset, std::span<std::byte> out) {
  std::fill(out.begin(), out.end(), std::byte{0});
  if (out.empty()) return;
  if (offset == kInterruptCause) out.front() = kNoInterrupt;
  if (offset == kLineStatus) out.front() = kReadyToSend;
}

void SerialPort::write(std::uint64_t offset, std::span<const std::byte> in) {
  if (in.empty()) return;
  const std::lock_guard lock(mutex_);
  if (offset == kLineControl) divisor_latch_ = (in.front() & kDivisorLatch) != std::byte{0};
  if (offset != kTransmit || divisor_latch_) return;
  line_.push_back(static_cast<char>(in.front()));
  if (line_.back() == '\n' || line_.size() == kMostBuffered) emit_(std::exchange(line_, {}));
}

void ResetLine::read(std::uint64_t /*offset*/, std::span<std::byte> out) {
  // "Input buffer empty": the kernel waits for that before its command.
  std::fill(out.begin(), out.end(), std::byte{0});
}

void ResetLine::write(std::uint64_t /*offset*/, std::span<const std::byte> in) {
  if (!in.empty() && in.front() == kPulseReset) pulled_();
}

}  // namespace x86_64
