#include "vmm/machine/device_set.h"

#include <algorithm>
#include <string>

#include "vmm/base/units.h"
#include "vmm/launch/messages.h"

namespace machine {
namespace {

constexpr std::uint64_t kGuestCid = 3;
constexpr std::size_t kDevicesBesideCards = 8;
constexpr std::size_t kFirstCardSlot = 2;  // as in_order() has it
// A placeholder: guest-init sets the container's own address.
constexpr devices::NetDevice::Mac kPlaceholderMac = {0x02, 0x42, 0, 0, 0, 0};

std::size_t slots_of(const launch::Shape& shape) {
  return kDevicesBesideCards + shape.network_cards;
}

}  // namespace

/// One transport on the bus. The guest reads its registers in a page, and kicks of queues and
/// acknowledgements of interrupts stay in the kernel; all other writes come here. What the
/// transport does not allow from any thread is done on the device thread.
class DeviceSet::Slot final : public memory::Responder, public virtio::InterruptLine {
 public:
  Slot(std::uint32_t number, arch::Platform& platform, virtio::Device& device, LoopCalls& calls,
       base::EventLoop& loop, base::EventFd kicked)
      : number_(number),
        platform_(platform),
        calls_(calls),
        kicked_(std::move(kicked)),
        transport_(platform.memory(), device, *this, loop) {}

  base::Result<void> connect(base::EventLoop& loop, std::span<std::byte> window) {
    transport_.publish(window);
    RETURN_IF_ERROR(platform_.mmio().add(arch::Platform::virtio_address(number_),
                                         virtio::MmioTransport::kWindowSize, *this));
    auto watch = loop.watch(kicked_.get(), EPOLLIN, [this](auto) { on_kicked(); });
    if (!watch) return watch.error();
    watch_ = *std::move(watch);
    return {};
  }

  /// Until this was called the same writes come to write(), at the price of an exit.
  base::Result<void> keep_in_kernel(const base::EventFd& acknowledged) {
    if (std::exchange(kept_, true)) return {};
    RETURN_IF_ERROR(platform_.watch_virtio_register(number_, virtio::MmioTransport::kNotifyOffset,
                                                    std::nullopt, kicked_.get()));
    return platform_.watch_virtio_register(number_, virtio::MmioTransport::kInterruptAckOffset,
                                           virtio::MmioTransport::kInterruptUsed,
                                           acknowledged.get());
  }

  virtio::MmioTransport& transport() { return transport_; }

  void read(std::uint64_t offset, std::span<std::byte> out) override {
    if (virtio::MmioTransport::any_thread(offset)) return transport_.read(offset, out);
    // The work fills a copy, not `out`: if the machine ends, the caller is gone before the work is
    // dropped.
    const auto copy = std::make_shared<std::vector<std::byte>>(out.size());
    calls_.call([this, offset, copy] { transport_.read(offset, *copy); });
    std::copy(copy->begin(), copy->end(), out.begin());
  }

  void write(std::uint64_t offset, std::span<const std::byte> in) override {
    if (offset == virtio::MmioTransport::kNotifyOffset) return kicked_.signal();
    if (virtio::MmioTransport::any_thread(offset)) return transport_.write(offset, in);
    std::vector<std::byte> copy(in.begin(), in.end());
    calls_.call([this, offset, bytes = std::move(copy)] { transport_.write(offset, bytes); });
  }

  void trigger() override { platform_.raise(number_); }

 private:
  void on_kicked() {
    kicked_.drain();
    const auto queues = transport_.device().queue_sizes().size();
    for (std::size_t queue = 0; queue < queues; ++queue)
      transport_.notify(static_cast<virtio::QueueIndex>(queue));
  }

  const std::uint32_t number_;
  arch::Platform& platform_;
  LoopCalls& calls_;
  const base::EventFd kicked_;
  base::EventLoop::Watch watch_;
  bool kept_ = false;  // by the kernel, as far as it would
  virtio::MmioTransport transport_;
};

DeviceSet::DeviceSet(base::EventLoop& loop, std::unique_ptr<devices::IoWorker> worker,
                     std::span<std::byte> windows, const launch::Shape& shape,
                     devices::PmemDevice::Range layers_window, base::EventFd acknowledged)
    : windows_(windows),
      acknowledged_(std::move(acknowledged)),
      worker_(std::move(worker)),
      layers_({.capacity_bytes = launch::kDiskBytes, .read_only = true, .id = "layers"}, *worker_),
      disk_({.capacity_bytes = launch::kDiskBytes, .read_only = false, .id = "disk"}, *worker_),
      vsock_(loop, kGuestCid),
      layers_window_(layers_window),
      shares_(loop) {
  for (std::uint32_t card = 0; card < shape.network_cards; ++card)
    network_cards_.push_back(std::make_unique<devices::NetDevice>(loop, kPlaceholderMac));
}

DeviceSet::~DeviceSet() = default;

base::Result<void> DeviceSet::check_shape(const launch::Shape& shape) {
  constexpr std::size_t kMostCards = arch::Platform::kVirtioSlots - kDevicesBesideCards;
  if (shape.network_cards <= kMostCards) return {};
  return base::Error{base::Code::kInvalidArgument,
                     "a machine has at most " + std::to_string(kMostCards) +
                         " network cards, not " + std::to_string(shape.network_cards)};
}

base::Result<base::MappedRegion> DeviceSet::map_windows(const launch::Shape& shape) {
  return base::MappedRegion::map(slots_of(shape) * virtio::MmioTransport::kWindowSize,
                                 PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
}

base::Result<std::unique_ptr<DeviceSet>> DeviceSet::create(arch::Platform& platform,
                                                           base::EventLoop& loop, LoopCalls& calls,
                                                           std::span<std::byte> windows,
                                                           const launch::Shape& shape) {
  auto worker = devices::IoWorker::create(loop);
  if (!worker) return worker.error();
  auto acknowledged = base::EventFd::create();
  if (!acknowledged) return acknowledged.error();
  std::unique_ptr<DeviceSet> set(
      new DeviceSet(loop, *std::move(worker), windows, shape,
                    {.start = platform.window_address(), .size = launch::kLayersWindowBytes},
                    *std::move(acknowledged)));
  RETURN_IF_ERROR(set->connect(platform, loop, calls));
  return set;
}

/// By slot, which is the guest's view: vda, vdb, eth0, ...
std::vector<virtio::Device*> DeviceSet::in_order() {
  std::vector<virtio::Device*> devices = {&layers_, &disk_};
  for (const auto& card : network_cards_) devices.push_back(card.get());
  devices.insert(devices.end(), {&vsock_, &console_, &rng_, &balloon_, &layers_window_, &shares_});
  return devices;
}

base::Result<devices::BlockDevice*> DeviceSet::disk(std::uint32_t number) {
  if (number == 0) return &disk_;
  return base::Error{base::Code::kNotFound,
                     "the machine has no writable disk " + std::to_string(number)};
}

base::Result<devices::NetDevice*> DeviceSet::network_card(std::uint32_t number) {
  if (number < network_cards_.size()) return network_cards_[number].get();
  return base::Error{base::Code::kNotFound,
                     "the machine has no network card " + std::to_string(number)};
}

base::Result<void> DeviceSet::connect(arch::Platform& platform, base::EventLoop& loop,
                                      LoopCalls& calls) {
  const std::vector<virtio::Device*> devices = in_order();
  for (std::uint32_t number = 0; number < devices.size(); ++number) {
    auto kicked = base::EventFd::create();
    if (!kicked) return kicked.error();
    slots_.push_back(std::make_unique<Slot>(number, platform, *devices[number], calls, loop,
                                            *std::move(kicked)));
    RETURN_IF_ERROR(
        slots_.back()->connect(loop, windows_.subspan(number * virtio::MmioTransport::kWindowSize,
                                                      virtio::MmioTransport::kWindowSize)));
  }
  return {};
}

void DeviceSet::keep_kicks_in_kernel(LoopCalls& calls, std::size_t first) {
  if (first > kFirstCardSlot && first < kFirstCardSlot + network_cards_.size())
    first = kFirstCardSlot + network_cards_.size();
  if (first == slots_.size()) return;
  calls.post([this, &calls, first] {
    keep_kicks_of_slot(first);
    keep_kicks_in_kernel(calls, first + 1);
  });
}

void DeviceSet::keep_kicks_of_card(LoopCalls& calls, std::uint32_t card) {
  calls.post([this, slot = kFirstCardSlot + card] { keep_kicks_of_slot(slot); });
}

/// What cannot be registered goes on to cost an exit, and nothing else.
void DeviceSet::keep_kicks_of_slot(std::size_t slot) {
  [[maybe_unused]] const auto kept = slots_[slot]->keep_in_kernel(acknowledged_);
}

std::vector<std::uint32_t> DeviceSet::slots() const {
  std::vector<std::uint32_t> numbers;
  for (std::uint32_t number = 0; number < slots_.size(); ++number) numbers.push_back(number);
  return numbers;
}

void DeviceSet::pause() {
  for (const auto& slot : slots_) slot->transport().pause();
}

void DeviceSet::resume() {
  for (const auto& slot : slots_) slot->transport().resume();
}

std::vector<std::vector<std::byte>> DeviceSet::save() const {
  std::vector<std::vector<std::byte>> states;
  for (const auto& slot : slots_) {
    wire::Encoder state;
    slot->transport().save(state);
    states.push_back(std::move(state).take());
  }
  return states;
}

base::Result<void> DeviceSet::restore(const std::vector<std::vector<std::byte>>& states) {
  if (states.size() != slots_.size())
    return base::Error{base::Code::kDataLoss, "saved devices do not match the machine"};
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    wire::Decoder state(states[i]);
    if (auto restored = slots_[i]->transport().restore(state); !restored)
      return base::annotate(std::move(restored), "device in slot " + std::to_string(i));
    if (!state.ok() || state.remaining() != 0)
      return base::Error{base::Code::kDataLoss,
                         "state of the device in slot " + std::to_string(i) + " is too long"};
  }
  return {};
}

std::uint64_t DeviceSet::fault_count() const {
  std::uint64_t count = 0;
  for (const auto& slot : slots_) count += slot->transport().fault_count();
  return count;
}

}  // namespace machine
