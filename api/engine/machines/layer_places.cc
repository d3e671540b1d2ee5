#include "api/engine/machines/layer_places.h"

#include "vmm/base/units.h"

namespace engine {

namespace {

using base::operator""_MiB;

constexpr std::uint64_t kAlignment = 2_MiB;
constexpr std::uint64_t kSectorBytes = 512;

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

}  // namespace engine
