// Says where the files of a machine's containers are in it. Layers are in the window into host
// memory, which all machines share, as far as it reaches, and else on the layers disk. A
// container's own file system and its volumes are on the writable disk.
//
// Each container has a part of either disk that follows from its number, so that containers come
// and go beside each other, and a daemon that was restarted knows where what is.
#pragma once

#include <span>
#include <vector>

#include "api/machines/machine.h"
#include "vmm/base/result.h"

namespace engine {

/// The part of either disk that belongs to one container: [begin, end).
struct DiskPart {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};
DiskPart part_of(ContainerNumber container);

/// Gives each layer its place, in the layers' order. Every layer goes into the window that still
/// fits there, from the lowest on, since most images share their lowest ones. `window`: whether the
/// window may be used. It may not by a further container, as it is filled once, nor where reads are
/// limited, as what is mapped is read without any I/O that could be slowed down.
std::vector<protocol::PrepareContainer::Layer> place_layers(
    ContainerNumber container, const std::vector<images::LayerFile>& layers, bool window);

/// The place of a container's own file system. It does not depend on the size of the file.
protocol::PrepareContainer::Disk place_own_disk(ContainerNumber container);

/// Gives each volume its place, in their order. `volume_bytes`: the files' sizes, whole sectors.
/// kResourceExhausted if there are more, or they are larger, than a container can have.
base::Result<std::vector<protocol::PrepareContainer::Disk>> place_volumes(
    ContainerNumber container, std::span<const std::uint64_t> volume_bytes);

}  // namespace engine
