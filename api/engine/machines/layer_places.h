// Where a container's layers are in its machine: in the window into host memory, which all machines
// share, as far as it reaches; the others on the layers disk.
#pragma once

#include <vector>

#include "api/engine/machines/machine.h"

namespace engine {

/// One place a layer, in their order. From the lowest on, which most images have in common, every
/// layer gets into the window that still fits. `rates_on_reads`: what is mapped is read without any
/// I/O that could be slowed down, so nothing is.
std::vector<protocol::PrepareContainer::Layer> place_layers(const std::vector<LayerFile>& layers,
                                                            bool rates_on_reads);

}  // namespace engine
