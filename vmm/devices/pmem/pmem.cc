#include "vmm/devices/pmem/pmem.h"

namespace devices {

namespace {

// virtio 1.3, 5.19.4 and 5.19.6
struct Config {
  std::uint64_t start = 0;
  std::uint64_t size = 0;
};

constexpr std::uint32_t kFlush = 0;
constexpr std::uint32_t kDone = 0;
constexpr std::uint32_t kRefused = 0xffff'ffff;  // -1

}  // namespace

void PmemDevice::read_config(std::uint32_t offset, std::span<std::byte> out) const {
  virtio::copy_config(Config{.start = range_.start.value, .size = range_.size}, offset, out);
}

base::Result<void> PmemDevice::activate(const virtio::Activation& activation) {
  queue_ = activation.queues[0];
  return {};
}

base::Result<virtio::Progress> PmemDevice::on_kick(virtio::QueueIndex /*queue*/) {
  return virtio::drain(*queue_, chain_, [](virtio::Chain& chain) -> base::Result<std::uint32_t> {
    std::uint32_t type = 0;
    if (!chain.readable.read(type))
      return base::Error{base::Code::kInvalidArgument, "pmem: a request without a type"};
    if (!chain.writable.write(type == kFlush ? kDone : kRefused))
      return base::Error{base::Code::kInvalidArgument, "pmem: no room for the answer"};
    return static_cast<std::uint32_t>(sizeof kDone);
  });
}

}  // namespace devices
