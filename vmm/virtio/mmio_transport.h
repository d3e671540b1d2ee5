// MmioTransport: the virtio-mmio register file of one device (virtio 1.2, 4.2, version 2 only).
//
// It keeps the device's status, negotiates features, builds the queues and drives the Device.
//
// Threading: the device thread, except that any thread may use the registers for which
// any_thread() says so: InterruptStatus, InterruptACK (two accesses per interrupt) and the
// constants. QueueNotify should be an ioeventfd whose handler calls notify(); a write to it as a
// register has the same effect.
// Ownership: device, memory, interrupt line and event loop are borrowed and outlive the transport.
// Trust: every access is the guest's. None fails: what is not allowed reads as zero or is ignored;
// a device that reports an Error gets DEVICE_NEEDS_RESET and is left alone until the driver resets
// it.
//
// Template: pause vCPUs, pause() all transports, save() them with guest memory.
// Clone:    restore() right after construction, attach backends to devices, resume().
// Boot:     needs no resume().
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "vmm/base/event_loop.h"
#include "vmm/base/result.h"
#include "vmm/base/wire.h"
#include "vmm/memory/guest_memory.h"
#include "vmm/virtio/device.h"

namespace virtio {

/// The device's interrupt, edge-triggered. trigger() is called on the device thread.
class InterruptLine {
 public:
  virtual ~InterruptLine() = default;
  virtual void trigger() = 0;
};

class MmioTransport final : public Transport {
 public:
  /// Bytes of guest-physical space per device.
  static constexpr std::uint64_t kWindowSize = 4096;
  static constexpr std::uint64_t kNotifyOffset = 0x50;        // QueueNotify: the queue's number
  static constexpr std::uint64_t kInterruptAckOffset = 0x64;  // see publish()
  static constexpr std::uint32_t kInterruptUsed = 1;

  MmioTransport(const memory::GuestMemory& memory, Device& device, InterruptLine& line,
                base::EventLoop& loop);
  ~MmioTransport() override;

  /// Whether a register may be accessed from any thread (see above).
  static bool any_thread(std::uint64_t offset);

  /// Keeps `window` (kWindowSize bytes, 4-byte aligned, outlives this) equal to what reads give, so
  /// that it can be mapped into the guest read-only and no read leaves the guest. An ioeventfd
  /// at kInterruptAckOffset with datamatch kInterruptUsed may then swallow the usual
  /// acknowledgement, too. That bit of InterruptStatus is never cleared then; the driver looks at
  /// its rings at every interrupt, as it does anyway. Call before restore() or any access.
  void publish(std::span<std::byte> window);

  /// The guest's accesses to [offset, offset + size) of the window.
  void read(std::uint64_t offset, std::span<std::byte> out) const;
  void write(std::uint64_t offset, std::span<const std::byte> bytes);

  /// The driver kicked `queue` (its ioeventfd fired).
  void notify(QueueIndex queue);

  /// Serves what the driver has queued up to now, then keeps the device from guest memory.
  void pause();
  void resume();

  /// Only while paused. The state holds guest-physical addresses, so it fits only a machine with
  /// the same memory.
  void save(wire::Encoder& out) const;
  /// Once, before any other access; the device is paused afterwards. kDataLoss if the bytes cannot
  /// be a state of this device.
  base::Result<void> restore(wire::Decoder& in);

  Device& device() { return device_; }
  /// How often the guest broke a rule of this device, and which one the last time.
  std::uint64_t fault_count() const { return faults_.count; }
  const std::string& last_fault() const { return faults_.last; }

  // Transport, for the device:
  void config_changed() override;
  void serve_again(QueueIndex queue) override;
  void fail(base::Error error) override;

 private:
  /// The registers of the device, without those of its queues.
  struct Registers {
    std::uint32_t status = 0;
    std::uint32_t device_features_page = 0;
    std::uint32_t driver_features_page = 0;
    std::uint64_t driver_features = 0;
    std::uint32_t queue_index = 0;
    std::uint32_t config_generation = 0;
    mutable std::uint32_t interrupt_status = 0;  // unused when a window is published
  };
  struct Faults {
    std::uint64_t count = 0;
    std::string last;
  };
  struct QueueRegisters {
    Queue::Layout layout;
    bool ready = false;
    std::optional<Queue> queue;  // while the device is active
  };

  std::uint32_t read_register(std::uint64_t offset) const;
  std::uint32_t read_queue_register(std::uint64_t offset) const;
  void refresh_window();
  std::atomic_ref<std::uint32_t> interrupt_status() const;
  void write_register(std::uint64_t offset, std::uint32_t value);
  void write_queue_register(std::uint64_t offset, std::uint32_t value);
  void write_status(std::uint32_t value);
  void serve_kicked();
  void raise(std::uint32_t cause);
  void reset_all();
  base::Result<void> activate_device();
  base::Result<void> build_queues();
  std::uint64_t offered_features() const;

  const memory::GuestMemory& memory_;
  Device& device_;
  InterruptLine& line_;
  base::EventLoop::Deferred serve_later_;
  std::vector<QueueRegisters> queues_;
  std::vector<Queue*> queue_pointers_;
  Registers registers_;
  std::span<std::byte> window_;  // empty: not published
  bool active_ = false;
  bool paused_ = false;
  std::uint32_t kicked_ = 0;  // queues to be served later, one bit each
  Faults faults_;
};

}  // namespace virtio
