#include "vmm/virtio/mmio_transport.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "vmm/base/scope_exit.h"

namespace virtio {

namespace {

constexpr std::uint32_t kMagic = 0x74726976;  // "virt"
constexpr std::uint32_t kVersion = 2;
constexpr std::uint32_t kVendor = 0x4d56'4354;
constexpr std::uint32_t kStateVersion = 1;

enum Register : std::uint64_t {
  kMagicValue = 0x000,
  kVersionValue = 0x004,
  kDeviceId = 0x008,
  kVendorId = 0x00c,
  kDeviceFeatures = 0x010,
  kDeviceFeaturesSelect = 0x014,
  kDriverFeatures = 0x020,
  kDriverFeaturesSelect = 0x024,
  kQueueSelect = 0x030,
  kQueueSizeMax = 0x034,
  kQueueSize = 0x038,
  kQueueReady = 0x044,
  kQueueNotify = MmioTransport::kNotifyOffset,
  kInterruptStatus = 0x060,
  kInterruptAck = MmioTransport::kInterruptAckOffset,
  kStatus = 0x070,
  kQueueDescriptorsLow = 0x080,
  kQueueDescriptorsHigh = 0x084,
  kQueueAvailableLow = 0x090,
  kQueueAvailableHigh = 0x094,
  kQueueUsedLow = 0x0a0,
  kQueueUsedHigh = 0x0a4,
  kSharedMemoryLengthLow = 0x0b0,
  kSharedMemoryBaseHigh = 0x0bc,
  kConfigGeneration = 0x0fc,
  kConfig = 0x100,
};

constexpr std::uint32_t kStatusDriverOk = 4;
constexpr std::uint32_t kStatusFeaturesOk = 8;
constexpr std::uint32_t kStatusNeedsReset = 64;
constexpr std::uint32_t kStatusDriverBits = 0x8f;  // what the driver may set

constexpr std::uint32_t kCauseUsed = MmioTransport::kInterruptUsed;
constexpr std::uint32_t kCauseConfig = 2;

/// Bytes of config space in a published window; no device has more.
constexpr std::uint64_t kPublishedConfig = 256;

std::uint32_t page_of(std::uint64_t features, std::uint32_t page) {
  return page > 1 ? 0 : static_cast<std::uint32_t>(features >> (32 * page));
}

void set_half(std::uint64_t& value, bool high, std::uint32_t half) {
  const std::uint64_t mask = high ? 0xffff'ffffu : std::uint64_t{0xffff'ffffu} << 32;
  value = (value & mask) | (std::uint64_t{half} << (high ? 32 : 0));
}

base::Error bad_state(const char* what) {
  return {base::Code::kDataLoss, std::string("device state: ") + what};
}

/// The saved form. Positions count only where a queue is ready and the device active.
struct State {
  struct QueueState {
    Queue::Layout layout;
    bool ready = false;
    Queue::Position position;
    static void fields(auto& self, auto&& visit) { visit(self.layout, self.ready, self.position); }
  };
  std::uint32_t version = kStateVersion;
  DeviceType type{};
  std::uint32_t status = 0;
  std::uint32_t device_features_page = 0;
  std::uint32_t driver_features_page = 0;
  std::uint64_t driver_features = 0;
  std::uint32_t queue_index = 0;
  std::uint32_t config_generation = 0;
  std::uint32_t interrupt_status = 0;
  bool active = false;
  std::vector<QueueState> queues;
  wire::Bytes device;
  static void fields(auto& self, auto&& visit) {
    visit(self.version, self.type, self.status, self.device_features_page,
          self.driver_features_page, self.driver_features, self.queue_index, self.config_generation,
          self.interrupt_status, self.active, self.queues, self.device);
  }
};

}  // namespace

MmioTransport::MmioTransport(const memory::GuestMemory& memory, Device& device, InterruptLine& line,
                             base::EventLoop& loop)
    : memory_(memory),
      device_(device),
      line_(line),
      serve_later_(loop, [this] { serve_kicked(); }),
      queues_(device.queue_sizes().size()),
      queue_pointers_(queues_.size()) {}

MmioTransport::~MmioTransport() {
  if (active_) device_.reset();
}

std::uint64_t MmioTransport::offered_features() const {
  return device_.offered_features() | kFeatureIndirectDescriptors | kFeatureEventIndex |
         kFeatureVersion1;
}

bool MmioTransport::any_thread(std::uint64_t offset) {
  return offset <= kVendorId || offset == kInterruptStatus || offset == kInterruptAck;
}

void MmioTransport::read(std::uint64_t offset, std::span<std::byte> out) const {
  std::fill(out.begin(), out.end(), std::byte{0});
  if (offset >= kConfig) {
    if (offset < kWindowSize)
      device_.read_config(static_cast<std::uint32_t>(offset - kConfig), out);
    return;
  }
  if (out.size() != 4 || offset % 4 != 0) return;
  const std::uint32_t value = read_register(offset);
  std::memcpy(out.data(), &value, sizeof value);
}

void MmioTransport::write(std::uint64_t offset, std::span<const std::byte> bytes) {
  std::uint32_t value = 0;
  if (offset >= kWindowSize) return;
  if (offset >= kConfig) {
    device_.write_config(static_cast<std::uint32_t>(offset - kConfig), bytes);
  } else {
    if (bytes.size() != 4 || offset % 4 != 0) return;
    std::memcpy(&value, bytes.data(), sizeof value);
    write_register(offset, value);
  }
  if (!any_thread(offset) && offset != kQueueNotify) refresh_window();
}

std::uint32_t MmioTransport::read_register(std::uint64_t offset) const {
  if (offset >= kSharedMemoryLengthLow && offset <= kSharedMemoryBaseHigh)
    return ~std::uint32_t{0};  // there is no shared memory
  switch (offset) {
    case kMagicValue:
      return kMagic;
    case kVersionValue:
      return kVersion;
    case kDeviceId:
      return static_cast<std::uint32_t>(device_.type());
    case kVendorId:
      return kVendor;
    case kDeviceFeatures:
      return page_of(offered_features(), registers_.device_features_page);
    case kInterruptStatus:
      return interrupt_status().load();
    case kStatus:
      return registers_.status;
    case kConfigGeneration:
      return registers_.config_generation;
    default:
      return read_queue_register(offset);
  }
}

std::uint32_t MmioTransport::read_queue_register(std::uint64_t offset) const {
  if (registers_.queue_index >= queues_.size()) return 0;
  if (offset == kQueueSizeMax) return device_.queue_sizes()[registers_.queue_index];
  if (offset == kQueueReady) return queues_[registers_.queue_index].ready ? 1 : 0;
  return 0;
}

void MmioTransport::publish(std::span<std::byte> window) {
  window_ = window;
  refresh_window();
}

/// After every change of a register or of config space. The guest may read meanwhile: whole
/// registers are stored. InterruptStatus changes in the window itself, on any thread.
void MmioTransport::refresh_window() {
  if (window_.empty()) return;
  for (std::uint64_t offset = 0; offset < kConfig + kPublishedConfig; offset += 4) {
    if (offset == kInterruptStatus) continue;
    std::uint32_t value = 0;
    read(offset, std::as_writable_bytes(std::span(&value, 1)));
    std::atomic_ref(*reinterpret_cast<std::uint32_t*>(window_.data() + offset))
        .store(value, std::memory_order_relaxed);
  }
}

std::atomic_ref<std::uint32_t> MmioTransport::interrupt_status() const {
  if (window_.empty()) return std::atomic_ref(registers_.interrupt_status);
  return std::atomic_ref(*reinterpret_cast<std::uint32_t*>(window_.data() + kInterruptStatus));
}

void MmioTransport::write_register(std::uint64_t offset, std::uint32_t value) {
  switch (offset) {
    case kDeviceFeaturesSelect:
      registers_.device_features_page = value;
      return;
    case kDriverFeaturesSelect:
      registers_.driver_features_page = value;
      return;
    case kDriverFeatures:
      if ((registers_.status & kStatusFeaturesOk) == 0 && registers_.driver_features_page <= 1)
        set_half(registers_.driver_features, registers_.driver_features_page == 1, value);
      return;
    case kQueueSelect:
      registers_.queue_index = value;
      return;
    case kQueueNotify:
      if (value < queues_.size()) notify(static_cast<QueueIndex>(value));
      return;
    case kInterruptAck:
      interrupt_status().fetch_and(~value);
      return;
    case kStatus:
      write_status(value);
      return;
    default:
      write_queue_register(offset, value);
  }
}

void MmioTransport::write_queue_register(std::uint64_t offset, std::uint32_t value) {
  if (registers_.queue_index >= queues_.size() || active_) return;
  QueueRegisters& queue = queues_[registers_.queue_index];
  if (offset == kQueueReady) {
    queue.ready = value == 1;
    return;
  }
  if (queue.ready) return;
  Queue::Layout& layout = queue.layout;
  switch (offset) {
    case kQueueSize:
      if (value <= device_.queue_sizes()[registers_.queue_index])
        layout.size = static_cast<std::uint16_t>(value);
      return;
    case kQueueDescriptorsLow:
    case kQueueDescriptorsHigh:
      set_half(layout.descriptors.value, offset == kQueueDescriptorsHigh, value);
      return;
    case kQueueAvailableLow:
    case kQueueAvailableHigh:
      set_half(layout.available.value, offset == kQueueAvailableHigh, value);
      return;
    case kQueueUsedLow:
    case kQueueUsedHigh:
      set_half(layout.used.value, offset == kQueueUsedHigh, value);
      return;
    default:
      return;
  }
}

void MmioTransport::write_status(std::uint32_t value) {
  if (value == 0) {
    reset_all();
    return;
  }
  std::uint32_t added = value & kStatusDriverBits & ~registers_.status;
  if ((added & kStatusFeaturesOk) != 0) {
    const bool acceptable = (registers_.driver_features & ~offered_features()) == 0 &&
                            (registers_.driver_features & kFeatureVersion1) != 0;
    if (!acceptable) added &= ~kStatusFeaturesOk;
  }
  const bool start = (added & kStatusDriverOk) != 0;
  if (start && ((registers_.status | added) & kStatusFeaturesOk) == 0) added &= ~kStatusDriverOk;
  registers_.status |= added;
  if ((added & kStatusDriverOk) == 0 || (registers_.status & kStatusNeedsReset) != 0) return;
  auto started = build_queues();
  if (started) started = activate_device();
  if (!started) fail(std::move(started).error());
}

base::Result<void> MmioTransport::build_queues() {
  for (std::size_t i = 0; i < queues_.size(); ++i) {
    QueueRegisters& registers = queues_[i];
    queue_pointers_[i] = nullptr;
    if (!registers.ready) continue;
    auto queue = Queue::create(memory_, registers.layout, registers_.driver_features,
                               [this] { raise(kCauseUsed); });
    if (!queue) return annotate(std::move(queue), "queue " + std::to_string(i));
    queue_pointers_[i] = &registers.queue.emplace(*std::move(queue));
  }
  return {};
}

base::Result<void> MmioTransport::activate_device() {
  active_ = true;
  return device_.activate({.memory = &memory_,
                           .features = registers_.driver_features,
                           .queues = queue_pointers_,
                           .transport = this});
}

void MmioTransport::reset_all() {
  if (active_) device_.reset();
  active_ = false;
  for (QueueRegisters& queue : queues_) queue = {};
  registers_.status = 0;
  registers_.driver_features = 0;
  registers_.device_features_page = 0;
  registers_.driver_features_page = 0;
  registers_.queue_index = 0;
  interrupt_status().store(0);
  kicked_ = 0;
}

void MmioTransport::notify(QueueIndex queue) {
  if (!active_ || queue >= queues_.size() || queue_pointers_[queue] == nullptr) return;
  if (paused_) {
    kicked_ |= 1u << queue;
    return;
  }
  auto progress = device_.on_kick(queue);
  if (!progress) {
    fail(std::move(progress).error());
  } else if (*progress == Progress::kMore) {
    serve_again(queue);
  }
}

void MmioTransport::serve_again(QueueIndex queue) {
  kicked_ |= 1u << queue;
  serve_later_.schedule();
}

void MmioTransport::serve_kicked() {
  if (paused_) return;
  const std::uint32_t kicked = std::exchange(kicked_, 0);
  for (std::size_t i = 0; i < queues_.size(); ++i)
    if ((kicked >> i & 1u) != 0) notify(static_cast<QueueIndex>(i));
}

void MmioTransport::raise(std::uint32_t cause) {
  interrupt_status().fetch_or(cause);
  line_.trigger();
}

void MmioTransport::config_changed() {
  ++registers_.config_generation;
  refresh_window();
  if (active_) raise(kCauseConfig);
}

void MmioTransport::fail(base::Error error) {
  ++faults_.count;
  faults_.last = std::move(error.message);
  if (active_) device_.reset();
  active_ = false;
  kicked_ = 0;
  for (QueueRegisters& queue : queues_) queue.queue.reset();
  registers_.status |= kStatusNeedsReset;
  refresh_window();
  if ((registers_.status & kStatusDriverOk) != 0) raise(kCauseConfig);
}

void MmioTransport::pause() {
  if (paused_) return;
  // The vCPUs stand still, so the rings run empty.
  for (std::size_t i = 0; i < queues_.size(); ++i) notify(static_cast<QueueIndex>(i));
  while (true) {
    while (kicked_ != 0) serve_kicked();
    device_.pause();
    if (kicked_ == 0) break;
    device_.resume();  // what finished in pause() made room for more
  }
  paused_ = true;
}

void MmioTransport::resume() {
  if (!paused_) return;
  paused_ = false;
  device_.resume();
  serve_kicked();
}

void MmioTransport::save(wire::Encoder& out) const {
  State state;
  state.type = device_.type();
  state.status = registers_.status;
  state.device_features_page = registers_.device_features_page;
  state.driver_features_page = registers_.driver_features_page;
  state.driver_features = registers_.driver_features;
  state.queue_index = registers_.queue_index;
  state.config_generation = registers_.config_generation;
  state.interrupt_status = interrupt_status().load();
  state.active = active_;
  for (const QueueRegisters& queue : queues_)
    state.queues.push_back({.layout = queue.layout,
                            .ready = queue.ready,
                            .position = queue.queue ? queue.queue->position() : Queue::Position{}});
  wire::Encoder device;
  device_.save(device);
  state.device = std::move(device).take();
  out.put(state);
}

base::Result<void> MmioTransport::restore(wire::Decoder& in) {
  State state;
  in.get(state);
  if (!in.ok() || state.version != kStateVersion)
    return bad_state("cut short or of another version");
  if (state.type != device_.type() || state.queues.size() != queues_.size())
    return bad_state("of another device");
  if ((state.driver_features & ~offered_features()) != 0)
    return bad_state("features that this device does not offer");
  if (state.active && (state.status & kStatusDriverOk) == 0)
    return bad_state("active before DRIVER_OK");
  registers_.status = state.status;
  registers_.device_features_page = state.device_features_page;
  registers_.driver_features_page = state.driver_features_page;
  registers_.driver_features = state.driver_features;
  registers_.queue_index = state.queue_index;
  registers_.config_generation = state.config_generation;
  interrupt_status().store(state.interrupt_status);
  for (std::size_t i = 0; i < queues_.size(); ++i) {
    if (state.queues[i].layout.size > device_.queue_sizes()[i])
      return bad_state("a queue is too large");
    queues_[i].layout = state.queues[i].layout;
    queues_[i].ready = state.queues[i].ready;
  }
  const base::ScopeExit publish_all([this] { refresh_window(); });
  wire::Decoder device(state.device);
  RETURN_IF_ERROR(device_.restore(device));
  if (!device.ok() || device.remaining() != 0) return bad_state("the device's part is malformed");
  paused_ = true;
  device_.pause();
  if (!state.active) return {};
  RETURN_IF_ERROR(build_queues());
  for (std::size_t i = 0; i < queues_.size(); ++i)
    if (queues_[i].queue) queues_[i].queue->set_position(state.queues[i].position);
  return activate_device();
}

}  // namespace virtio
