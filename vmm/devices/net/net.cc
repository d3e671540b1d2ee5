#include "vmm/devices/net/net.h"

#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace devices {

/// virtio 1.2, 5.1.6: before each frame, in both directions.
struct NetHeader {
  std::uint8_t flags = 0;
  std::uint8_t segmentation = 0;
  std::uint16_t header_length = 0;
  std::uint16_t segment_size = 0;
  std::uint16_t checksum_start = 0;
  std::uint16_t checksum_offset = 0;
  std::uint16_t buffer_count = 0;
};
static_assert(sizeof(NetHeader) == 12);

namespace {

constexpr std::uint64_t kFeatureChecksum = 1u << 0;
constexpr std::uint64_t kFeatureGuestChecksum = 1u << 1;
constexpr std::uint64_t kFeatureMac = 1u << 5;
constexpr std::uint64_t kFeatureGuestTcp4 = 1u << 7;
constexpr std::uint64_t kFeatureGuestTcp6 = 1u << 8;
constexpr std::uint64_t kFeatureHostTcp4 = 1u << 11;
constexpr std::uint64_t kFeatureHostTcp6 = 1u << 12;
constexpr std::uint64_t kFeatureMergeable = 1u << 15;

constexpr std::uint8_t kNeedsChecksum = 1;  // flag
constexpr std::uint8_t kSegmentNone = 0;
constexpr std::uint8_t kSegmentTcp4 = 1;
constexpr std::uint8_t kSegmentTcp6 = 4;

constexpr virtio::QueueIndex kReceive = 0;
constexpr virtio::QueueIndex kTransmit = 1;

constexpr std::size_t kEthernetHeader = 14;
constexpr std::size_t kSourceOffset = 6;
/// The largest frame a tap gives or takes (with a VLAN tag), without the virtio header.
constexpr std::size_t kMaxFrame = 65535 + kEthernetHeader + 4;
constexpr std::size_t kMaxPlainFrame = 1500 + kEthernetHeader + 4;
constexpr std::size_t kMaxHeld = 128;
constexpr std::size_t kMaxParts = 1024;
constexpr std::size_t kBufferCountOffset = 10;

base::Error broken(const char* what) {
  return {base::Code::kInvalidArgument, std::string("net: ") + what};
}

}  // namespace

NetDevice::NetDevice(base::EventLoop& loop, const Mac& config_mac)
    : loop_(loop), config_mac_(config_mac) {}

base::Result<void> NetDevice::attach(base::UniqueFd tap, const Mac& source_mac) {
  if (tap_.fd) return base::Error{base::Code::kConflict, "the network device has a tap already"};
  tap_.fd = std::move(tap);
  tap_.source_mac = source_mac;
  if (driver_.transport != nullptr) RETURN_IF_ERROR(set_offloads());
  auto watch = loop_.watch(tap_.fd.get(), EPOLLIN | EPOLLOUT | EPOLLET,
                           [this](std::uint32_t events) { on_tap(events); });
  if (!watch) return annotate(std::move(watch), "tap");
  tap_.watch = *std::move(watch);
  return {};
}

void NetDevice::detach() {
  tap_.watch.reset();
  tap_ = {};
  if (driver_.transport != nullptr && !paused_ && driver_.transmit_stalled)
    driver_.transport->serve_again(kTransmit);
}

std::uint64_t NetDevice::offered_features() const {
  return kFeatureChecksum | kFeatureGuestChecksum | kFeatureMac | kFeatureGuestTcp4 |
         kFeatureGuestTcp6 | kFeatureHostTcp4 | kFeatureHostTcp6 | kFeatureMergeable;
}

void NetDevice::read_config(std::uint32_t offset, std::span<std::byte> out) const {
  virtio::copy_config(config_mac_, offset, out);
}

base::Result<void> NetDevice::activate(const virtio::Activation& activation) {
  driver_.receive_queue = activation.queues[kReceive];
  driver_.transmit_queue = activation.queues[kTransmit];
  if (driver_.receive_queue == nullptr || driver_.transmit_queue == nullptr)
    return broken("a queue is missing");
  driver_.transport = activation.transport;
  driver_.features = activation.features;
  return tap_.fd ? set_offloads() : base::Result<void>();
}

/// Tells the tap what the guest can take: frames without checksum, or larger than the MTU.
base::Result<void> NetDevice::set_offloads() {
  unsigned long offloads = 0;
  if ((driver_.features & kFeatureGuestChecksum) != 0) {
    offloads |= TUN_F_CSUM;
    if ((driver_.features & kFeatureGuestTcp4) != 0) offloads |= TUN_F_TSO4;
    if ((driver_.features & kFeatureGuestTcp6) != 0) offloads |= TUN_F_TSO6;
  }
  if (::ioctl(tap_.fd.get(), TUNSETOFFLOAD, offloads) != 0 && errno != ENOTTY)
    return base::errno_error("TUNSETOFFLOAD");
  return {};
}

void NetDevice::reset() {
  driver_ = {};
  held_.first = 0;
  held_.count = 0;
  held_.bytes = 0;
}

void NetDevice::pause() {
  give_held_back();
  paused_ = true;
}

void NetDevice::resume() {
  paused_ = false;
  if (driver_.transport == nullptr || !tap_.fd) return;
  if (tap_.readable) driver_.transport->serve_again(kReceive);
  if (driver_.transmit_stalled && tap_.writable) driver_.transport->serve_again(kTransmit);
}

base::Result<void> NetDevice::restore(wire::Decoder& in) {
  in.get(driver_.transmit_stalled);
  return {};
}

base::Result<virtio::Progress> NetDevice::on_kick(virtio::QueueIndex queue) {
  return queue == kReceive ? receive() : transmit();
}

void NetDevice::on_tap(std::uint32_t events) {
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) tap_.readable = true;
  const bool was_full = !tap_.writable;
  if ((events & EPOLLOUT) != 0) tap_.writable = true;
  if (driver_.transport == nullptr || paused_) return;
  if (was_full && tap_.writable) driver_.transport->serve_again(kTransmit);
  auto received = receive();
  if (!received) {
    driver_.transport->fail(std::move(received).error());
  } else if (*received == virtio::Progress::kMore) {
    driver_.transport->serve_again(kReceive);
  }
}

// --- tap -> guest

base::Result<virtio::Progress> NetDevice::receive() {
  for (int budget = 64; budget > 0; --budget) {
    if (!tap_.readable) break;
    const auto enough = hold_buffers();
    if (!enough) return enough.error();
    if (!*enough) break;
    parts_.clear();
    const bool mergeable = (driver_.features & kFeatureMergeable) != 0;
    for (std::size_t i = 0; i < (mergeable ? held_.count : 1u); ++i)
      for (const iovec& part : held_.at(i).writable.parts())
        if (parts_.size() < kMaxParts) parts_.push_back(part);
    const ssize_t size = ::readv(tap_.fd.get(), parts_.data(), static_cast<int>(parts_.size()));
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) {
      tap_.readable = false;
      break;
    }
    if (static_cast<std::size_t>(size) >= sizeof(NetHeader))
      complete_frame(static_cast<std::size_t>(size));
    if (budget == 1) {
      driver_.receive_queue->interrupt();
      return virtio::Progress::kMore;
    }
  }
  driver_.receive_queue->interrupt();
  return virtio::Progress::kDone;
}

/// Pops buffers until the largest possible frame fits. False if the guest has not offered enough;
/// it has been asked to kick then.
base::Result<bool> NetDevice::hold_buffers() {
  const bool large = (driver_.features & (kFeatureGuestTcp4 | kFeatureGuestTcp6)) != 0;
  held_.chains.resize(kMaxHeld);  // most machines' cards are never used
  const std::size_t wanted = sizeof(NetHeader) + (large ? kMaxFrame : kMaxPlainFrame);
  while (held_.bytes < wanted && held_.count < kMaxHeld) {
    virtio::Chain& chain = held_.at(held_.count);
    const auto popped = driver_.receive_queue->pop(chain);
    if (!popped) return popped.error();
    if (!*popped) {
      if (driver_.receive_queue->resume_kicks()) continue;
      return false;
    }
    if (chain.writable.size() < sizeof(NetHeader)) return broken("a receive buffer without room");
    ++held_.count;
    held_.bytes += chain.writable.size();
  }
  return true;
}

/// Gives the buffers that the frame of `size` bytes filled to the guest.
void NetDevice::complete_frame(std::size_t size) {
  const bool mergeable = (driver_.features & kFeatureMergeable) != 0;
  std::uint16_t used = 0;
  for (std::size_t left = size; left > 0 && used < held_.count; ++used)
    left -= std::min(left, held_.at(used).writable.size());
  if (!mergeable) used = 1;
  virtio::Segments header = held_.at(0).writable;
  header.consume(kBufferCountOffset);
  header.write(used);
  for (std::uint16_t i = 0; i < used; ++i) {
    virtio::Chain& chain = held_.at(0);
    const std::size_t room = chain.writable.size();
    const std::size_t written = std::min(room, size);
    driver_.receive_queue->complete(chain.head, static_cast<std::uint32_t>(written));
    size -= written;
    held_.first = (held_.first + 1) % held_.chains.size();
    --held_.count;
    held_.bytes -= room;
  }
}

void NetDevice::give_held_back() {
  if (driver_.receive_queue != nullptr) driver_.receive_queue->undo_pop(held_.count);
  held_.count = 0;
  held_.bytes = 0;
}

// --- guest -> tap

base::Result<virtio::Progress> NetDevice::transmit() {
  driver_.transmit_stalled = tap_.fd && !tap_.writable;
  if (driver_.transmit_stalled) return virtio::Progress::kDone;  // EPOLLOUT will call again
  driver_.transmit_queue->stop_kicks();
  for (int budget = 256; budget > 0; --budget) {
    const auto popped = driver_.transmit_queue->pop(chain_);
    if (!popped) return popped.error();
    if (!*popped) {
      if (driver_.transmit_queue->resume_kicks()) continue;
      driver_.transmit_queue->interrupt();
      return virtio::Progress::kDone;
    }
    if (tap_.fd && !send_frame(chain_.readable)) {
      driver_.transmit_queue->undo_pop(1);
      driver_.transmit_stalled = true;
      driver_.transmit_queue->interrupt();
      return virtio::Progress::kDone;
    }
    driver_.transmit_queue->complete(chain_.head, 0);
  }
  driver_.transmit_queue->interrupt();
  return virtio::Progress::kMore;
}

/// Sends one frame. False: the tap is full. Frames that are not allowed are dropped and count as
/// sent.
bool NetDevice::send_frame(virtio::Segments& frame) {
  struct {
    NetHeader header;
    std::array<std::uint8_t, kEthernetHeader> ethernet;
  } start;
  static_assert(sizeof start == sizeof(NetHeader) + kEthernetHeader);
  const std::size_t frame_size = frame.size() - std::min(frame.size(), sizeof(NetHeader));
  const bool allowed = frame.read(start) && frame_size <= kMaxFrame &&
                       acceptable(start.header, frame_size) &&
                       std::equal(tap_.source_mac.begin(), tap_.source_mac.end(),
                                  start.ethernet.begin() + kSourceOffset);
  if (!allowed) {
    ++rejected_frames_;
    return true;
  }
  start.header.buffer_count = 0;
  // What was checked is what is sent: the start from the copy, the rest from guest memory.
  parts_.clear();
  parts_.push_back({&start, sizeof start});
  for (const iovec& part : frame.parts()) parts_.push_back(part);
  const std::size_t count = std::min(parts_.size(), kMaxParts);
  if (::writev(tap_.fd.get(), parts_.data(), static_cast<int>(count)) >= 0) return true;
  if (errno == EAGAIN || errno == EWOULDBLOCK) {
    tap_.writable = false;
    return false;
  }
  return true;  // the interface is down or refuses this frame, which is lost as on a wire
}

bool NetDevice::acceptable(const NetHeader& header, std::size_t frame_size) const {
  if ((header.flags & ~kNeedsChecksum) != 0) return false;
  const bool checksum = (header.flags & kNeedsChecksum) != 0;
  if (checksum && ((driver_.features & kFeatureChecksum) == 0 ||
                   std::size_t{header.checksum_start} + header.checksum_offset + 2 > frame_size))
    return false;
  switch (header.segmentation) {
    case kSegmentNone:
      return true;
    case kSegmentTcp4:
    case kSegmentTcp6:
      return checksum && header.segment_size > 0 && header.header_length <= frame_size &&
             (driver_.features &
              (header.segmentation == kSegmentTcp4 ? kFeatureHostTcp4 : kFeatureHostTcp6)) != 0;
    default:
      return false;
  }
}

}  // namespace devices
