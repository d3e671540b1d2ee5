#include "api/machines/layer_places.h"

#include <fmt/format.h>

#include "vmm/base/units.h"

namespace engine {

namespace {

using base::operator""_MiB;

constexpr std::uint64_t kAlignment = 2_MiB;
constexpr std::uint64_t kSectorBytes = 512;
constexpr std::size_t kMostVolumes = 126;  // a disk has 127 partitions, the container's own is one

}  // namespace

std::vector<protocol::PrepareContainer::Layer> place_layers(const std::vector<LayerFile>& layers,
                                                            bool rates_on_reads) {
  std::vector<protocol::PrepareContainer::Layer> places;
  std::uint64_t window_used = 0;
  std::uint64_t disk_used = 0;
  for (const LayerFile& layer : layers) {
    const std::uint64_t length = base::round_up(layer.bytes, kSectorBytes);
    const bool in_window = !rates_on_reads && layer.bytes % launch::kWindowPage == 0 &&
                           window_used <= launch::kLayersWindowBytes &&
                           length <= launch::kLayersWindowBytes - window_used;
    std::uint64_t& used = in_window ? window_used : disk_used;
    places.push_back({.offset = used, .length = length, .in_window = in_window});
    used += base::round_up(length, kAlignment);
  }
  return places;
}

base::Result<std::vector<protocol::PrepareContainer::VolumeDisk>> place_volumes(
    std::uint64_t disk_bytes, std::span<const std::uint64_t> volume_bytes) {
  using base::Code;
  if (volume_bytes.size() > kMostVolumes)
    return base::Error{Code::kResourceExhausted,
                       fmt::format("a container has at most {} volumes", kMostVolumes)};
  std::vector<protocol::PrepareContainer::VolumeDisk> places;
  std::uint64_t used = disk_bytes;
  for (const std::uint64_t length : volume_bytes) {
    if (length == 0 || length % kSectorBytes != 0)
      return base::Error{Code::kDataLoss, "a volume's file does not have the size of a disk"};
    const std::uint64_t offset = base::round_up(used, kAlignment);
    if (offset > launch::kWritableDiskBytes || length > launch::kWritableDiskBytes - offset)
      return base::Error{Code::kResourceExhausted,
                         "the container's disk and its volumes together are larger than 64 TiB"};
    places.push_back({.offset = offset, .length = length});
    used = offset + length;
  }
  return places;
}

}  // namespace engine
