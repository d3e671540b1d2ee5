#include "vmm/virtio/queue.h"

#include <atomic>
#include <bit>
#include <string>

namespace virtio {

namespace {

constexpr std::uint16_t kDescriptorNext = 1;
constexpr std::uint16_t kDescriptorWrite = 2;
constexpr std::uint16_t kDescriptorIndirect = 4;
constexpr std::uint16_t kNoInterrupt = 1;  // in the available ring's flags
constexpr std::uint16_t kNoNotify = 1;     // in the used ring's flags
constexpr std::size_t kDescriptorSize = 16;
constexpr std::size_t kIndexOffset = 2;
constexpr std::size_t kRingOffset = 4;
constexpr std::size_t kUsedElementSize = 8;

base::Error broken(const char* what) {
  return {base::Code::kInvalidArgument, std::string("virtqueue: ") + what};
}

/// Ring fields are little endian, as is every host this runs on.
static_assert(std::endian::native == std::endian::little);

std::uint16_t load16(const std::byte* at, std::memory_order order) {
  return std::atomic_ref(*reinterpret_cast<std::uint16_t*>(const_cast<std::byte*>(at))).load(order);
}

void store16(std::byte* at, std::uint16_t value, std::memory_order order) {
  std::atomic_ref(*reinterpret_cast<std::uint16_t*>(at)).store(value, order);
}

bool aligned(const std::byte* at, std::uintptr_t unit) {
  return reinterpret_cast<std::uintptr_t>(at) % unit == 0;
}

}  // namespace

Queue::Queue(const memory::GuestMemory& memory, Layout layout, std::uint64_t features,
             std::function<void()> raise)
    : memory_(&memory),
      layout_(layout),
      indirect_((features & kFeatureIndirectDescriptors) != 0),
      event_index_((features & kFeatureEventIndex) != 0),
      raise_(std::move(raise)) {}

base::Result<Queue> Queue::create(const memory::GuestMemory& memory, Layout layout,
                                  std::uint64_t features, std::function<void()> raise) {
  if (!std::has_single_bit(layout.size) || layout.size > 32768)
    return broken("the size is not a power of two up to 32768");
  Queue queue(memory, layout, features, std::move(raise));
  const std::uint64_t size = layout.size;
  queue.descriptors_ = memory.find(layout.descriptors, size * kDescriptorSize).data();
  queue.available_ = memory.find(layout.available, 6 + size * 2).data();
  queue.used_ = memory.find(layout.used, 6 + size * kUsedElementSize).data();
  if (queue.descriptors_ == nullptr || queue.available_ == nullptr || queue.used_ == nullptr)
    return broken("a ring is outside guest memory");
  if (!aligned(queue.descriptors_, 16) || !aligned(queue.available_, 2) || !aligned(queue.used_, 4))
    return broken("a ring is not aligned");
  return queue;
}

std::uint16_t Queue::load_available_index() const {
  return load16(available_ + kIndexOffset, std::memory_order_acquire);
}

bool Queue::available() const { return load_available_index() != position_.next_available; }

base::Result<bool> Queue::pop(Chain& chain) {
  const auto pending =
      static_cast<std::uint16_t>(load_available_index() - position_.next_available);
  if (pending == 0) return false;
  if (pending > layout_.size) return broken("more chains available than the ring holds");
  const std::size_t slot = position_.next_available & (layout_.size - 1u);
  chain.head = load16(available_ + kRingOffset + 2 * slot, std::memory_order_relaxed);
  if (chain.head >= layout_.size) return broken("a chain's head is outside the table");
  RETURN_IF_ERROR(collect(chain));
  ++position_.next_available;
  return true;
}

void Queue::undo_pop(std::uint16_t count) {
  position_.next_available = static_cast<std::uint16_t>(position_.next_available - count);
}

base::Result<void> Queue::collect(Chain& chain) const {
  chain.readable.clear();
  chain.writable.clear();
  std::span<const std::byte> table(descriptors_, layout_.size * kDescriptorSize);
  bool in_indirect = false;
  std::size_t index = chain.head;
  // A chain has at most as many descriptors as the queue (2.7.5.3.1 for indirect ones), and the
  // one that points to an indirect table.
  for (std::size_t left = layout_.size + 1u; left > 0; --left) {
    if (index >= table.size() / kDescriptorSize) return broken("a descriptor is outside its table");
    Descriptor descriptor;
    std::memcpy(&descriptor, table.data() + index * kDescriptorSize, sizeof descriptor);
    std::atomic_signal_fence(std::memory_order_seq_cst);  // the copy counts: no second look
    if ((descriptor.flags & kDescriptorIndirect) != 0) {
      if (in_indirect) return broken("an indirect table inside another");
      auto indirect = indirect_table(descriptor);
      if (!indirect) return std::move(indirect).error();
      table = *indirect;
      in_indirect = true;
      index = 0;
      continue;
    }
    RETURN_IF_ERROR(append(descriptor, chain));
    if ((descriptor.flags & kDescriptorNext) == 0) return {};
    index = descriptor.next;
  }
  return broken("a chain is longer than the queue");
}

base::Result<std::span<const std::byte>> Queue::indirect_table(const Descriptor& descriptor) const {
  if (!indirect_) return broken("an indirect descriptor that was not negotiated");
  if ((descriptor.flags & kDescriptorNext) != 0)
    return broken("an indirect descriptor with a next");
  if (descriptor.length == 0 || descriptor.length % kDescriptorSize != 0)
    return broken("an indirect table of odd size");
  const auto table = memory_->find({descriptor.address}, descriptor.length);
  if (table.data() == nullptr) return broken("an indirect table is outside guest memory");
  return std::span<const std::byte>(table);
}

base::Result<void> Queue::append(const Descriptor& descriptor, Chain& chain) const {
  if (descriptor.length == 0) return broken("an empty descriptor");
  if (chain.readable.size() + chain.writable.size() + descriptor.length > kMaxChainBytes)
    return broken("a chain of more than 4 GiB");
  if ((descriptor.flags & kDescriptorWrite) != 0) {
    const auto bytes = memory_->find({descriptor.address}, descriptor.length);
    if (bytes.data() == nullptr) return broken("a buffer is outside guest memory");
    chain.writable.append(bytes);
    return {};
  }
  if (!chain.writable.empty()) return broken("a readable descriptor after a writable one");
  const auto bytes = memory_->find_readable({descriptor.address}, descriptor.length);
  if (bytes.data() == nullptr) return broken("a buffer is outside guest memory");
  chain.readable.append_read_only(bytes);
  return {};
}

void Queue::complete(std::uint16_t head, std::uint32_t written) {
  const std::uint32_t element[2] = {head, written};
  const std::size_t slot = position_.next_used & (layout_.size - 1u);
  std::memcpy(used_ + kRingOffset + kUsedElementSize * slot, element, sizeof element);
  ++position_.next_used;
  store16(used_ + kIndexOffset, position_.next_used, std::memory_order_release);
}

void Queue::interrupt() {
  const std::uint16_t before = position_.signalled_used;
  const std::uint16_t now = position_.next_used;
  if (now == before) return;
  position_.signalled_used = now;
  std::atomic_thread_fence(std::memory_order_seq_cst);  // the used index before the driver's wish
  if (event_index_) {
    const std::uint16_t event =
        load16(available_ + kRingOffset + 2u * layout_.size, std::memory_order_relaxed);
    // Whether `event` is one of the entries completed since `before` (2.7.10).
    if (static_cast<std::uint16_t>(now - event - 1) >= static_cast<std::uint16_t>(now - before))
      return;
  } else if ((load16(available_, std::memory_order_relaxed) & kNoInterrupt) != 0) {
    return;
  }
  raise_();
}

void Queue::stop_kicks() {
  // With EVENT_IDX there is nothing to write: the driver's next kick is due at the old event.
  if (!event_index_) store16(used_, kNoNotify, std::memory_order_relaxed);
}

bool Queue::resume_kicks() {
  if (event_index_) {
    store16(used_ + kRingOffset + kUsedElementSize * layout_.size, position_.next_available,
            std::memory_order_relaxed);
  } else {
    store16(used_, 0, std::memory_order_relaxed);
  }
  std::atomic_thread_fence(std::memory_order_seq_cst);  // our wish before the last look
  return available();
}

}  // namespace virtio
