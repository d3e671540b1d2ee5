// AddressBus: finds the register file that answers at an address. A machine has one for
// memory-mapped registers and one for ports.
//
// Threads: filled before the vCPUs run, then immutable; find() from any thread.
// Ownership: responders are borrowed and outlive the bus.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "vmm/base/result.h"

namespace memory {

/// A register file. It is called on vCPU threads, by several of them at the same time.
/// Trust: offset (inside the registered range), size (1 to 8, may reach past the range) and bytes
/// are the guest's. What cannot be answered reads as zeros and writes are ignored.
class Responder {
 public:
  virtual ~Responder() = default;
  virtual void read(std::uint64_t offset, std::span<std::byte> out) = 0;
  virtual void write(std::uint64_t offset, std::span<const std::byte> in) = 0;
};

class AddressBus {
 public:
  struct Hit {
    Responder* responder = nullptr;
    std::uint64_t offset = 0;
  };

  /// kAlreadyExists if [start, start + size) overlaps another range, kInvalidArgument if it wraps.
  base::Result<void> add(std::uint64_t start, std::uint64_t size, Responder& responder);

  /// Who answers at `address`; nullopt if nobody does.
  std::optional<Hit> find(std::uint64_t address) const;

  /// Makes the access. Where nobody answers, reads give all ones, as on an empty bus, and writes do
  /// nothing.
  void read(std::uint64_t address, std::span<std::byte> out) const;
  void write(std::uint64_t address, std::span<const std::byte> in) const;

 private:
  struct Range {
    std::uint64_t start = 0;
    std::uint64_t size = 0;
    Responder* responder = nullptr;
  };

  std::vector<Range> ranges_;  // few: searched one by one
};

}  // namespace memory
