// The machine's description as a flattened device tree (Devicetree Specification 0.4): processors,
// interrupt controllers, virtio-mmio slots, the generation ID. What 6.12's arch/x86/kernel/
// devicetree.c and drivers/of read.
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

/// The blob, ready for setup_data.
base::Result<std::vector<std::byte>> make_device_tree(const Hardware& hardware);

}  // namespace x86_64
