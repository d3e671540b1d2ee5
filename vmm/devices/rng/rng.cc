#include "vmm/devices/rng/rng.h"

#include <sys/random.h>

#include <algorithm>
#include <cerrno>

namespace devices {

namespace {

/// More than this is not filled at once: a guest cannot keep the device thread busy with one chain.
constexpr std::size_t kMaxFill = 64u << 10;

base::Result<void> fill(std::span<std::byte> out) {
  while (!out.empty()) {
    const ssize_t count = ::getrandom(out.data(), out.size(), 0);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return base::errno_error("getrandom");
    out = out.subspan(static_cast<std::size_t>(count));
  }
  return {};
}

}  // namespace

base::Result<void> RngDevice::activate(const virtio::Activation& activation) {
  queue_ = activation.queues[0];
  return {};
}

base::Result<virtio::Progress> RngDevice::on_kick(virtio::QueueIndex /*queue*/) {
  return virtio::drain(*queue_, chain_, [](virtio::Chain& chain) -> base::Result<std::uint32_t> {
    chain.writable.truncate(kMaxFill);
    const auto written = static_cast<std::uint32_t>(chain.writable.size());
    for (const iovec& part : chain.writable.parts())
      RETURN_IF_ERROR(fill({static_cast<std::byte*>(part.iov_base), part.iov_len}));
    return written;
  });
}

}  // namespace devices
