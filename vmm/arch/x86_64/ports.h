// The two devices on the port bus: a serial port that only sends, for what the kernel says before
// its console exists (16550A datasheet), and the keyboard controller's reset line (command 0xfe on
// port 0x64), which Linux pulls with `reboot=k`.
//
// Threads: vCPU threads. Trust: all bytes are the guest's.
#pragma once

#include <functional>
#include <mutex>
#include <string>

#include "vmm/memory/address_bus.h"

namespace x86_64 {

class SerialPort final : public memory::Responder {
 public:
  /// `emit` gets whole lines, or pieces of at most kMostBuffered bytes; on a vCPU thread.
  using Emit = std::function<void(std::string)>;
  static constexpr std::size_t kMostBuffered = 512;

  explicit SerialPort(Emit emit) : emit_(std::move(emit)) {}

  void read(std::uint64_t offset, std::span<std::byte> out) override;
  void write(std::uint64_t offset, std::span<const std::byte> in) override;

 private:
  Emit emit_;
  std::mutex mutex_;
  bool divisor_latch_ = false;  // guarded by mutex_
  std::string line_;            // guarded by mutex_
};

class ResetLine final : public memory::Responder {
 public:
  explicit ResetLine(std::function<void()> pulled) : pulled_(std::move(pulled)) {}

  void read(std::uint64_t offset, std::span<std::byte> out) override;
  void write(std::uint64_t offset, std::span<const std::byte> in) override;

 private:
  std::function<void()> pulled_;
};

}  // namespace x86_64
