// Queue: the device side of a split virtqueue (virtio 1.2, 2.7), with EVENT_IDX and INDIRECT_DESC.
//
// Threading: the machine's device thread. Ownership: made and kept by the transport; devices borrow
// it from activate() to reset(). Guest memory must outlive it.
// Trust: all ring contents are the guest's. Each value is read once; chains are bounded by the
// queue's size, so a loop ends; addresses are checked. An Error means that the ring is broken: give
// it to Transport::fail().
//
// Use: drain() below for request queues; pop(), complete(), interrupt() where a device has bytes to
// deliver.
#pragma once

#include <cstdint>
#include <functional>

#include "vmm/base/result.h"
#include "vmm/base/wire.h"
#include "vmm/memory/guest_memory.h"
#include "vmm/virtio/chain.h"

namespace virtio {

inline constexpr std::uint64_t kFeatureIndirectDescriptors = std::uint64_t{1} << 28;
inline constexpr std::uint64_t kFeatureEventIndex = std::uint64_t{1} << 29;
inline constexpr std::uint64_t kFeatureVersion1 = std::uint64_t{1} << 32;

/// No chain describes more bytes than this: the used ring counts in 32 bits.
inline constexpr std::uint64_t kMaxChainBytes = 0xffff'ffff;

class Queue {
 public:
  /// What the driver wrote to the transport.
  struct Layout {
    std::uint16_t size = 0;            // power of two
    memory::GuestAddress descriptors;  // 16-byte aligned
    memory::GuestAddress available;    // 2-byte aligned ("driver area")
    memory::GuestAddress used;         // 4-byte aligned ("device area")
    static void fields(auto& self, auto&& visit) {
      visit(self.size, self.descriptors.value, self.available.value, self.used.value);
    }
  };

  /// How far the device is in the rings. A template keeps this of a queue.
  struct Position {
    std::uint16_t next_available = 0;
    std::uint16_t next_used = 0;
    std::uint16_t signalled_used = 0;  // next_used when interrupt() was last called
    static void fields(auto& self, auto&& visit) {
      visit(self.next_available, self.next_used, self.signalled_used);
    }
  };

  /// `raise` makes the driver look at its used rings. kInvalidArgument if the layout is not allowed
  /// or not all inside guest memory.
  static base::Result<Queue> create(const memory::GuestMemory& memory, Layout layout,
                                    std::uint64_t features, std::function<void()> raise);

  std::uint16_t size() const { return layout_.size; }

  /// Takes the next chain; false if there is none. At most `size()` chains can be taken and not
  /// completed.
  base::Result<bool> pop(Chain& chain);

  /// Gives the last `count` popped chains back to the ring, as if they were never popped. Allowed
  /// only while none of them has been completed.
  void undo_pop(std::uint16_t count);

  /// Whether pop() would find a chain (or a broken ring).
  bool available() const;

  /// Returns a chain to the driver; the device wrote `written` bytes from its writable start.
  void complete(std::uint16_t head, std::uint32_t written);

  /// Interrupts the driver, if it wants an interrupt for what was completed since the last call.
  void interrupt();

  /// How many chains were completed since interrupt() was last called.
  std::uint16_t unannounced() const {
    return static_cast<std::uint16_t>(position_.next_used - position_.signalled_used);
  }

  /// Tells the driver not to kick, because the device looks at the ring by itself.
  void stop_kicks();
  /// Asks for kicks again. True if chains arrived meanwhile: call stop_kicks() and go on popping.
  bool resume_kicks();

  const Position& position() const { return position_; }
  /// Makes a fresh queue continue at a saved position.
  void set_position(const Position& position) { position_ = position; }

 private:
  struct Descriptor {
    std::uint64_t address = 0;
    std::uint32_t length = 0;
    std::uint16_t flags = 0;
    std::uint16_t next = 0;
  };

  Queue(const memory::GuestMemory& memory, Layout layout, std::uint64_t features,
        std::function<void()> raise);

  base::Result<void> collect(Chain& chain) const;
  base::Result<void> append(const Descriptor& descriptor, Chain& chain) const;
  base::Result<std::span<const std::byte>> indirect_table(const Descriptor& descriptor) const;
  std::uint16_t load_available_index() const;

  const memory::GuestMemory* memory_;
  Layout layout_;
  bool indirect_;
  bool event_index_;
  std::function<void()> raise_;
  std::byte* descriptors_ = nullptr;
  std::byte* available_ = nullptr;
  std::byte* used_ = nullptr;
  Position position_;
};

/// Whether a device served all there was, or stopped at its budget and wants to be called again.
enum class Progress { kDone, kMore };

/// Pops chains, gives each to `serve` (Chain& -> Result<std::uint32_t>: bytes written) and
/// completes it, until the queue is empty or a fair share was done; then interrupts the driver.
template <typename Serve>
base::Result<Progress> drain(Queue& queue, Chain& chain, Serve serve) {
  queue.stop_kicks();
  for (unsigned budget = 512; budget > 0; --budget) {
    const auto popped = queue.pop(chain);
    if (!popped) return popped.error();
    if (!*popped) {
      if (queue.resume_kicks()) continue;
      queue.interrupt();
      return Progress::kDone;
    }
    base::Result<std::uint32_t> written = serve(chain);
    if (!written) return std::move(written).error();
    queue.complete(chain.head, *written);
  }
  queue.interrupt();
  return Progress::kMore;
}

}  // namespace virtio
