// For tests: guest memory, the driver's side of a virtqueue (a descriptor-chain builder), and a
// driver that brings a device up through its transport. Nothing here checks what it is asked to
// write: tests build broken rings with it.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/base/mapped_region.h"
#include "vmm/memory/guest_memory.h"
#include "vmm/virtio/mmio_transport.h"

namespace virtio {

/// 16 MiB of guest memory at 0, 1 MiB at 4 GiB and 64 KiB at 8 GiB that nobody may write.
class FakeMemory {
 public:
  static constexpr std::uint64_t kLowSize = 16u << 20;
  static constexpr std::uint64_t kHighStart = std::uint64_t{4} << 30;
  static constexpr std::uint64_t kHighSize = 1u << 20;
  static constexpr std::uint64_t kFixedStart = std::uint64_t{8} << 30;
  static constexpr std::uint64_t kFixedSize = 64u << 10;

  FakeMemory()
      : low_(map(kLowSize)),
        high_(map(kHighSize)),
        fixed_(*base::MappedRegion::map(kFixedSize, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS)),
        memory_(*memory::GuestMemory::create({{{0}, low_.bytes()},
                                              {{kHighStart}, high_.bytes()},
                                              {{kFixedStart}, fixed_.bytes(), true}})) {}

  const memory::GuestMemory& get() const { return memory_; }
  operator const memory::GuestMemory&() const { return memory_; }  // NOLINT

  /// Fresh addresses, 16-byte aligned, never given out twice.
  std::uint64_t allocate(std::uint64_t size) {
    const std::uint64_t at = next_;
    next_ += (size + 15) & ~std::uint64_t{15};
    return at;
  }
  template <typename T>
  requires std::is_trivially_copyable_v<T>
  void put(std::uint64_t at, const T& value) {
    std::memcpy(memory_.find({at}, sizeof value).data(), &value, sizeof value);
  }
  void put(std::uint64_t at, std::string_view text) {
    const auto to = memory_.find({at}, text.size());
    std::copy_n(text.begin(), text.size(), reinterpret_cast<char*>(to.data()));
  }
  template <typename T>
  T take(std::uint64_t at) const {
    T value{};
    std::memcpy(&value, memory_.find({at}, sizeof value).data(), sizeof value);
    return value;
  }
  std::string text(std::uint64_t at, std::size_t size) const {
    return {reinterpret_cast<const char*>(memory_.find({at}, size).data()), size};
  }

 private:
  static base::MappedRegion map(std::size_t size) {
    return *base::MappedRegion::map(size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
  }

  base::MappedRegion low_;
  base::MappedRegion high_;
  base::MappedRegion fixed_;
  memory::GuestMemory memory_;
  std::uint64_t next_ = 0x1000;
};

/// The driver's side of one virtqueue, in `memory`, which outlives it.
class FakeQueue {
 public:
  struct Buffer {
    std::uint64_t at = 0;
    std::uint32_t size = 0;
    bool writable = false;
  };
  struct Used {
    std::uint16_t head = 0;
    std::uint32_t written = 0;
  };

  static constexpr std::uint16_t kNext = 1;
  static constexpr std::uint16_t kWrite = 2;
  static constexpr std::uint16_t kIndirect = 4;

  FakeQueue(FakeMemory& memory, std::uint16_t size) : memory_(memory) {
    layout_.size = size;
    layout_.descriptors = {memory.allocate(16u * size)};
    layout_.available = {memory.allocate(6u + 2u * size)};
    layout_.used = {memory.allocate(6u + 8u * size)};
  }

  const Queue::Layout& layout() const { return layout_; }

  /// Makes a chain of `buffers` available; returns its head.
  std::uint16_t offer(const std::vector<Buffer>& buffers) {
    const std::uint16_t head = next_descriptor_;
    for (std::size_t i = 0; i < buffers.size(); ++i) {
      const bool last = i + 1 == buffers.size();
      const std::uint16_t at = take_descriptor();
      put_descriptor(
          at, buffers[i].at, buffers[i].size,
          static_cast<std::uint16_t>((buffers[i].writable ? kWrite : 0) | (last ? 0 : kNext)),
          next_descriptor_);
    }
    publish(head);
    return head;
  }

  /// The same through an indirect table.
  std::uint16_t offer_indirect(const std::vector<Buffer>& buffers) {
    const std::uint64_t table = memory_.allocate(16 * buffers.size());
    for (std::size_t i = 0; i < buffers.size(); ++i) {
      const bool last = i + 1 == buffers.size();
      write_descriptor(
          table + 16 * i, buffers[i].at, buffers[i].size,
          static_cast<std::uint16_t>((buffers[i].writable ? kWrite : 0) | (last ? 0 : kNext)),
          static_cast<std::uint16_t>(i + 1));
    }
    const std::uint16_t head = take_descriptor();
    put_descriptor(head, table, static_cast<std::uint32_t>(16 * buffers.size()), kIndirect, 0);
    publish(head);
    return head;
  }

  void put_descriptor(std::uint16_t index, std::uint64_t at, std::uint32_t size,
                      std::uint16_t flags, std::uint16_t next) {
    write_descriptor(layout_.descriptors.value + 16u * index, at, size, flags, next);
  }

  /// Puts `head` into the available ring.
  void publish(std::uint16_t head) {
    memory_.put(layout_.available.value + 4 + 2u * (available_ % layout_.size), head);
    set_available_index(static_cast<std::uint16_t>(available_ + 1));
  }
  void set_available_index(std::uint16_t index) {
    available_ = index;
    memory_.put(layout_.available.value + 2, index);
  }
  void set_available_flags(std::uint16_t flags) { memory_.put(layout_.available.value, flags); }
  /// EVENT_IDX: interrupt when the used entry with this index is written.
  void set_used_event(std::uint16_t index) {
    memory_.put(layout_.available.value + 4 + 2u * layout_.size, index);
  }

  std::uint16_t used_flags() const { return memory_.take<std::uint16_t>(layout_.used.value); }
  std::uint16_t used_index() const { return memory_.take<std::uint16_t>(layout_.used.value + 2); }
  std::uint16_t available_event() const {
    return memory_.take<std::uint16_t>(layout_.used.value + 4 + 8u * layout_.size);
  }

  /// The next chain that the device completed.
  std::optional<Used> take_used() {
    if (used_index() == taken_) return std::nullopt;
    const std::uint64_t at = layout_.used.value + 4 + 8u * (taken_ % layout_.size);
    ++taken_;
    return Used{.head = static_cast<std::uint16_t>(memory_.take<std::uint32_t>(at)),
                .written = memory_.take<std::uint32_t>(at + 4)};
  }

 private:
  std::uint16_t take_descriptor() {
    const std::uint16_t taken = next_descriptor_;
    next_descriptor_ = static_cast<std::uint16_t>((next_descriptor_ + 1) % layout_.size);
    return taken;
  }
  void write_descriptor(std::uint64_t where, std::uint64_t at, std::uint32_t size,
                        std::uint16_t flags, std::uint16_t next) {
    memory_.put(where, at);
    memory_.put(where + 8, size);
    memory_.put(where + 12, flags);
    memory_.put(where + 14, next);
  }

  FakeMemory& memory_;
  Queue::Layout layout_;
  std::uint16_t next_descriptor_ = 0;
  std::uint16_t available_ = 0;
  std::uint16_t taken_ = 0;
};

/// Counts interrupts.
class FakeLine final : public InterruptLine {
 public:
  void trigger() override { ++count; }
  int count = 0;
};

/// A driver that uses a device through a transport of its own. The device outlives it.
class FakeDriver {
 public:
  /// With `shared` memory this driver works in the same guest memory as another one, as in a clone.
  explicit FakeDriver(Device& device, FakeMemory* shared = nullptr)
      : FakeDriver(device, *base::EventLoop::create(), nullptr, shared) {}
  /// For a device that uses a loop itself: `shared_loop` is the device's.
  FakeDriver(Device& device, base::EventLoop& shared_loop, FakeMemory* shared = nullptr)
      : FakeDriver(device, nullptr, &shared_loop, shared) {}

  std::uint32_t read(std::uint64_t offset) const {
    std::uint32_t value = 0;
    transport.read(offset, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
  void write(std::uint64_t offset, std::uint32_t value) {
    transport.write(offset, std::as_bytes(std::span(&value, 1)));
  }
  template <typename T>
  T config(std::uint32_t offset) const {
    T value{};
    transport.read(0x100 + offset, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }

  std::uint64_t offered() {
    write(0x014, 1);
    const std::uint64_t high = read(0x010);
    write(0x014, 0);
    return high << 32 | read(0x010);
  }

  /// Resets the device and brings it up with `features` (default: all it offers) and queues of its
  /// largest size (or `queue_size`). Returns the status it ends in.
  std::uint32_t start(std::optional<std::uint64_t> features = {}, std::uint16_t queue_size = 0) {
    write(0x070, 0);
    write(0x070, 1 | 2);
    negotiate(features.value_or(offered()));
    queues_.clear();
    for (std::uint32_t i = 0; use_queue(i, queue_size); ++i) {
    }
    write(0x070, 1 | 2 | 8 | 4);
    return read(0x070);
  }

  void negotiate(std::uint64_t features) {
    write(0x024, 0);
    write(0x020, static_cast<std::uint32_t>(features));
    write(0x024, 1);
    write(0x020, static_cast<std::uint32_t>(features >> 32));
    write(0x070, 1 | 2 | 8);
  }

  /// Sets up one queue; false if the device has no such queue.
  bool use_queue(std::uint32_t index, std::uint16_t queue_size = 0) {
    write(0x030, index);
    const std::uint32_t largest = read(0x034);
    if (largest == 0) return false;
    FakeQueue& queue = queues_.emplace_back(
        memory, queue_size == 0 ? static_cast<std::uint16_t>(largest) : queue_size);
    const Queue::Layout& layout = queue.layout();
    write(0x038, layout.size);
    write64(0x080, layout.descriptors.value);
    write64(0x090, layout.available.value);
    write64(0x0a0, layout.used.value);
    write(0x044, 1);
    return true;
  }

  FakeQueue& queue(std::size_t index) { return queues_.at(index); }
  void kick(std::uint32_t queue) { write(0x050, queue); }

 private:
  FakeDriver(Device& device, std::unique_ptr<base::EventLoop> own_loop,
             base::EventLoop* shared_loop, FakeMemory* shared)
      : own_memory_(shared == nullptr ? std::make_unique<FakeMemory>() : nullptr),
        own_loop_(std::move(own_loop)),
        memory(shared == nullptr ? *own_memory_ : *shared),
        loop(shared_loop == nullptr ? own_loop_.get() : shared_loop),
        transport(memory, device, line, *loop) {}

  std::unique_ptr<FakeMemory> own_memory_;
  std::unique_ptr<base::EventLoop> own_loop_;

 public:
  FakeMemory& memory;
  FakeLine line;
  base::EventLoop* loop;
  MmioTransport transport;

 private:
  void write64(std::uint64_t offset, std::uint64_t value) {
    write(offset, static_cast<std::uint32_t>(value));
    write(offset + 4, static_cast<std::uint32_t>(value >> 32));
  }

  std::deque<FakeQueue> queues_;
};

}  // namespace virtio
