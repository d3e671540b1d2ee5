// Where a container's layers and volumes are in its machine. Layers: in the window into host
// memory, which all machines share, as far as it reaches; the others on the layers disk. Volumes:
// on the writable disk, behind the container's own file system.
#pragma once

#include <span>
#include <vector>

#include "api/machines/machine.h"
#include "vmm/base/result.h"

namespace engine {

/// One place a layer, in their order. From the lowest on, which most images have in common, every
/// layer gets into the window that still fits. `rates_on_reads`: what is mapped is read without any
/// I/O that could be slowed down, so nothing is.
std::vector<protocol::PrepareContainer::Layer> place_layers(const std::vector<LayerFile>& layers,
                                                            bool rates_on_reads);

/// One place a volume, in their order. `disk_bytes`, `volume_bytes`: the files' sizes, whole
/// sectors. kResourceExhausted if there are more, or they are larger, than a machine can have.
base::Result<std::vector<protocol::PrepareContainer::VolumeDisk>> place_volumes(
    std::uint64_t disk_bytes, std::span<const std::uint64_t> volume_bytes);

}  // namespace engine
