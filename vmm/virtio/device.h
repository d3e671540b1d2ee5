// Device: one virtio device model, driven by a transport (mmio_transport.h). Spec: virtio 1.2 and,
// for persistent memory, 1.3.
//
// Threading: every call comes from the machine's device thread.
// Trust: queue contents and config offsets are chosen by the guest. An Error (returned, or given to
// Transport::fail) makes the transport set DEVICE_NEEDS_RESET; a device never aborts.
// Life:  [restore] -> activate -> on_kick... -> reset -> activate ...
//        pause and resume may come at any time; between them the device touches no guest memory.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "vmm/base/result.h"
#include "vmm/base/wire.h"
#include "vmm/virtio/queue.h"

namespace virtio {

/// virtio 1.3, section 5.
enum class DeviceType : std::uint32_t {
  kNet = 1,
  kBlock = 2,
  kConsole = 3,
  kRng = 4,
  kBalloon = 5,
  kVsock = 19,
  kFs = 26,
  kPmem = 27,
};

using QueueIndex = std::uint16_t;

/// What a device may ask of the transport that drives it. The transport outlives the activation.
class Transport {
 public:
  virtual ~Transport() = default;

  /// The device changed its config space.
  virtual void config_changed() = 0;

  /// Has on_kick(queue) called soon, after other descriptors of the loop had their turn.
  virtual void serve_again(QueueIndex queue) = 0;

  /// Says, outside of on_kick, that the device cannot go on (on_kick returns its Error instead).
  /// The transport calls reset() before this returns, so it must be the last thing a handler does.
  virtual void fail(base::Error error) = 0;
};

/// What the driver set up. Its pointers are valid until reset().
struct Activation {
  const memory::GuestMemory* memory = nullptr;
  std::uint64_t features = 0;  // accepted by the driver
  /// One per queue_sizes() entry; nullptr where the driver did not enable it.
  std::span<Queue* const> queues;
  Transport* transport = nullptr;
};

class Device {
 public:
  virtual ~Device() = default;

  virtual DeviceType type() const = 0;

  /// The features of this device type. The transport adds those of rings and VERSION_1.
  virtual std::uint64_t offered_features() const = 0;

  /// The largest size of each queue.
  virtual std::span<const std::uint16_t> queue_sizes() const = 0;

  /// Copies config space from `offset` into `out`, which comes zeroed: bytes past its end stay so.
  virtual void read_config(std::uint32_t /*offset*/, std::span<std::byte> /*out*/) const {}

  /// The driver wrote config space. What is not writable is ignored, as the specification says.
  virtual void write_config(std::uint32_t /*offset*/, std::span<const std::byte> /*bytes*/) {}

  /// The driver set DRIVER_OK (or a template is being restored in that state).
  virtual base::Result<void> activate(const Activation& activation) = 0;

  /// Makes the device inactive: it touches no queue after this returns. What the host attached
  /// stays attached.
  virtual void reset() = 0;

  /// The driver kicked `queue`, which it has enabled: the device serves chains until the queue is
  /// empty. After Progress::kMore the transport calls again, once other descriptors had their turn.
  virtual base::Result<Progress> on_kick(QueueIndex queue) = 0;

  /// Finishes what is in flight, then touches neither queues nor guest memory until resume().
  virtual void pause() {}
  virtual void resume() {}

  /// Saves and restores the state that is not in rings, registers and config. save() is called only
  /// while paused, restore() only before the first activate(). A restore checks its bytes as if
  /// they were hostile (kDataLoss).
  virtual void save(wire::Encoder& /*out*/) const {}
  virtual base::Result<void> restore(wire::Decoder& /*in*/) { return {}; }
};

/// read_config() for a device whose config space is the bytes of `config`.
template <typename Config>
void copy_config(const Config& config, std::uint32_t offset, std::span<std::byte> out) {
  const auto bytes = std::as_bytes(std::span(&config, 1));
  if (offset >= bytes.size()) return;
  const auto part = bytes.subspan(offset);
  std::memcpy(out.data(), part.data(), std::min(part.size(), out.size()));
}

}  // namespace virtio
