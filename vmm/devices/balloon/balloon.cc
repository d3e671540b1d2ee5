#include "vmm/devices/balloon/balloon.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace devices {

namespace {

constexpr std::uint64_t kFeatureReporting = 1u << 5;

constexpr virtio::QueueIndex kInflate = 0;
constexpr virtio::QueueIndex kDeflate = 1;
constexpr virtio::QueueIndex kReporting = 2;  // queues of features not offered have no index

constexpr std::uint64_t kPageSize = 4096;  // of the interface, whatever the host's is
constexpr std::uint32_t kActualOffset = 4;

struct Config {
  std::uint32_t target = 0;
  std::uint32_t actual = 0;
};

}  // namespace

void BalloonDevice::set_target(std::uint32_t pages) {
  target_ = pages;
  if (activation_.transport != nullptr) activation_.transport->config_changed();
}

std::uint64_t BalloonDevice::offered_features() const { return kFeatureReporting; }

void BalloonDevice::read_config(std::uint32_t offset, std::span<std::byte> out) const {
  virtio::copy_config(Config{.target = target_, .actual = actual_}, offset, out);
}

void BalloonDevice::write_config(std::uint32_t offset, std::span<const std::byte> bytes) {
  if (offset != kActualOffset || bytes.size() != sizeof actual_) return;
  std::memcpy(&actual_, bytes.data(), sizeof actual_);
}

base::Result<void> BalloonDevice::activate(const virtio::Activation& activation) {
  activation_ = activation;
  std::copy_n(activation.queues.begin(), queues_.size(), queues_.begin());
  return {};
}

void BalloonDevice::reset() {
  activation_ = {};
  queues_ = {};
  actual_ = 0;
}

base::Result<virtio::Progress> BalloonDevice::on_kick(virtio::QueueIndex queue) {
  return virtio::drain(*queues_[queue], chain_,
                       [&](virtio::Chain& chain) -> base::Result<std::uint32_t> {
                         if (queue == kInflate) inflate(chain.readable);
                         if (queue == kReporting)
                           for (const iovec& part : chain.writable.parts())
                             release({static_cast<std::byte*>(part.iov_base), part.iov_len});
                         // Deflating needs nothing done: pages come back by being touched.
                         static_assert(kDeflate != kInflate && kDeflate != kReporting);
                         return 0u;
                       });
}

/// Releases the pages that the guest put into the balloon, given as 32-bit page numbers. Wrong ones
/// harm the guest alone; those outside of its memory are passed over.
void BalloonDevice::inflate(virtio::Segments& page_numbers) {
  std::uint64_t run_start = 0;
  std::uint64_t run_pages = 0;
  const auto flush = [&] {
    if (run_pages > 0)
      release(activation_.memory->find({run_start * kPageSize}, run_pages * kPageSize));
    run_pages = 0;
  };
  std::uint32_t page = 0;
  for (int budget = 1 << 16; budget > 0 && page_numbers.read(page); --budget) {
    if (run_pages > 0 && page == run_start + run_pages) {
      ++run_pages;
    } else if (run_pages > 0 && std::uint64_t{page} + 1 == run_start) {
      --run_start;
      ++run_pages;
    } else {
      flush();
      run_start = page;
      run_pages = 1;
    }
  }
  flush();
}

void BalloonDevice::release(std::span<std::byte> bytes) {
  static const auto host_page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto start = reinterpret_cast<std::uintptr_t>(bytes.data());
  const std::uintptr_t first = (start + host_page - 1) & ~(host_page - 1);
  const std::uintptr_t end = (start + bytes.size()) & ~(host_page - 1);
  if (bytes.data() == nullptr || first >= end) return;
  // May fail for locked memory: then the host keeps the pages.
  if (::madvise(reinterpret_cast<void*>(first), end - first, MADV_DONTNEED) == 0)
    released_bytes_ += end - first;
}

void BalloonDevice::save(wire::Encoder& out) const {
  out.put(target_);
  out.put(actual_);
}

base::Result<void> BalloonDevice::restore(wire::Decoder& in) {
  in.get(target_);
  in.get(actual_);
  return {};
}

}  // namespace devices
