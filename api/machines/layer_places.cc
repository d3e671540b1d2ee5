#include "api/machines/layer_places.h"

#include <fmt/format.h>

#include "vmm/base/units.h"

namespace engine {

namespace {

using base::operator""_MiB;

constexpr std::uint64_t kAlignment = 2_MiB;
constexpr std::uint64_t kSectorBytes = 512;
constexpr std::size_t kMostVolumes = 126;  // a disk has 127 partitions, the container's own is one
constexpr std::uint64_t kPartBytes = launch::kDiskBytes / (kMostContainers + 1);

}  // namespace

DiskPart part_of(ContainerNumber container) {
  const std::uint64_t begin = (container - 1) * kPartBytes;
  return {.begin = begin, .end = begin + kPartBytes};
}

std::vector<protocol::PrepareContainer::Layer> place_layers(
    ContainerNumber container, const std::vector<images::LayerFile>& layers, bool window) {
  std::vector<protocol::PrepareContainer::Layer> places;
  std::uint64_t window_used = 0;
  std::uint64_t disk_used = part_of(container).begin;
  for (const images::LayerFile& layer : layers) {
    const std::uint64_t length = base::round_up(layer.bytes, kSectorBytes);
    const bool in_window = window && layer.bytes % launch::kWindowPage == 0 &&
                           window_used <= launch::kLayersWindowBytes &&
                           length <= launch::kLayersWindowBytes - window_used;
    std::uint64_t& used = in_window ? window_used : disk_used;
    places.push_back({.offset = used, .length = length, .in_window = in_window});
    used += base::round_up(length, kAlignment);
  }
  return places;
}

protocol::PrepareContainer::Disk place_own_disk(ContainerNumber container) {
  return {.offset = part_of(container).begin, .length = protocol::kOwnDiskBytes};
}

base::Result<std::vector<protocol::PrepareContainer::Disk>> place_volumes(
    ContainerNumber container, std::span<const std::uint64_t> volume_bytes) {
  using base::Code;
  if (volume_bytes.size() > kMostVolumes)
    return base::Error{Code::kResourceExhausted,
                       fmt::format("a container has at most {} volumes", kMostVolumes)};
  const DiskPart part = part_of(container);
  static_assert(kPartBytes > protocol::kOwnDiskBytes);
  std::vector<protocol::PrepareContainer::Disk> places;
  std::uint64_t used = part.begin + protocol::kOwnDiskBytes;
  for (const std::uint64_t length : volume_bytes) {
    if (length == 0 || length % kSectorBytes != 0)
      return base::Error{Code::kDataLoss, "a volume's file does not have the size of a disk"};
    const std::uint64_t offset = base::round_up(used, kAlignment);
    if (offset > part.end || length > part.end - offset)
      return base::Error{Code::kResourceExhausted,
                         "the container's volumes together are larger than 64 TiB"};
    places.push_back({.offset = offset, .length = length});
    used = offset + length;
  }
  return places;
}

}  // namespace engine
