#include "vmm/devices/console/console.h"

#include <unistd.h>

#include <algorithm>
#include <array>

namespace devices {

namespace {

constexpr virtio::QueueIndex kTransmit = 1;
/// What one chain holds beyond this is dropped: Linux sends far less.
constexpr std::size_t kMaxOutput = 64u << 10;

}  // namespace

std::string ConsoleDevice::tail(std::size_t max_bytes) const {
  std::string all;
  all.reserve(ring_.size());
  for (std::size_t i = 0; i < ring_.size(); ++i)
    all.push_back(static_cast<char>(ring_[(ring_end_ + i) % ring_.size()]));
  return all.size() <= max_bytes ? all : all.substr(all.size() - max_bytes);
}

void ConsoleDevice::append(std::span<const std::byte> output) {
  if (log_) [[maybe_unused]]
    const auto written = ::write(log_.get(), output.data(), output.size());
  if (output.size() > kTailBytes) output = output.last(kTailBytes);
  // While the ring grows its end is 0, so that it is read from its start.
  const std::size_t grow = std::min(output.size(), kTailBytes - ring_.size());
  ring_.insert(ring_.end(), output.begin(), output.begin() + static_cast<std::ptrdiff_t>(grow));
  for (const std::byte byte : output.subspan(grow)) {
    ring_[ring_end_] = byte;
    ring_end_ = (ring_end_ + 1) % kTailBytes;
  }
}

base::Result<void> ConsoleDevice::activate(const virtio::Activation& activation) {
  transmit_ = activation.queues[kTransmit];
  return {};
}

base::Result<virtio::Progress> ConsoleDevice::on_kick(virtio::QueueIndex queue) {
  if (queue != kTransmit) return virtio::Progress::kDone;  // there is never input
  return virtio::drain(*transmit_, chain_, [this](virtio::Chain& chain) {
    // Bounded, and copied once: what is logged is what is kept.
    chain.readable.truncate(kMaxOutput);
    std::array<std::byte, 4096> copy;
    while (const std::size_t size = chain.readable.copy_out(copy))
      append(std::span(copy).first(size));
    return base::Result<std::uint32_t>(0u);
  });
}

}  // namespace devices
