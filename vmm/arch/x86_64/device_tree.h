// The machine's description as a flattened device tree (Devicetree Specification 0.4): processors,
// interrupt controllers, virtio-mmio slots, the generation ID. It holds what Linux 6.12 reads in
// arch/x86/kernel/devicetree.c and drivers/of.
#pragma once

#include <cstdint>
#include <vector>

#include "vmm/base/result.h"

namespace x86_64 {

struct Hardware {
  std::uint32_t vcpus = 1;
  std::vector<std::uint32_t> virtio_slots;  // those in use, below kVirtioSlots
  std::uint64_t generation_address = 0;     // guest physical, 16 bytes
};

/// The tree as a blob, ready for setup_data. kInternal: libfdt refused a node.
base::Result<std::vector<std::byte>> make_device_tree(const Hardware& hardware);

}  // namespace x86_64
