// fuzz_device(): for fuzz targets, a driver that does to any device what the input's bytes say: it
// builds chains, overwrites rings, kicks, writes registers, resets, pauses and resumes, and saves
// at the end.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "vmm/base/fuzz_input.h"
#include "vmm/virtio/fake_driver.h"

namespace virtio {

/// Takes at most 200 steps. `host_side(input)` does something on the device's other side (its
/// socket, its disk).
template <typename HostSide>
void fuzz_device(base::FuzzInput& input, FakeDriver& driver, HostSide host_side) {
  constexpr std::uint64_t kScratch = 0x100000;  // what buffers point to
  constexpr std::uint16_t kQueueSize = 16;
  const auto features = input.take<std::uint8_t>() % 2 == 0 ? driver.offered() : kFeatureVersion1;
  driver.start(features, kQueueSize);
  std::uint32_t queues = 0;
  for (driver.write(0x030, 0); driver.read(0x034) != 0; driver.write(0x030, queues)) ++queues;

  for (int steps = 0; !input.empty() && steps < 200; ++steps) {
    const std::uint32_t index = input.take<std::uint8_t>() % queues;
    FakeQueue& queue = driver.queue(index);
    switch (input.take<std::uint8_t>() % 10) {
      case 0:
      case 1:
      case 2: {  // a chain, with bytes from the input in its first buffer
        std::vector<FakeQueue::Buffer> buffers;
        for (unsigned left = input.take<std::uint8_t>() % 4u + 1; left > 0; --left)
          buffers.push_back({.at = kScratch + input.take<std::uint16_t>() * 16u,
                             .size = input.take<std::uint16_t>(),
                             .writable = input.take<std::uint8_t>() % 2 == 1});
        const auto bytes = input.take_bytes(64);
        const auto to = driver.memory.get().find({buffers[0].at}, bytes.size());
        std::ranges::copy(std::as_bytes(bytes), to.begin());
        if (input.take<std::uint8_t>() % 4 == 0) {
          queue.offer_indirect(buffers);
        } else {
          queue.offer(buffers);
        }
        driver.kick(index);
        break;
      }
      case 3: {  // any bytes in the rings
        const std::uint64_t at =
            queue.layout().descriptors.value + input.take<std::uint16_t>() % 1024u;
        driver.memory.put(at, input.take<std::uint64_t>());
        break;
      }
      case 4:
        queue.set_available_index(input.take<std::uint16_t>() % 64);
        break;
      case 5:
        driver.kick(index);
        break;
      case 6:
        driver.write(input.take<std::uint8_t>() * 4u, input.take<std::uint32_t>());
        break;
      case 7:
        if (input.take<std::uint8_t>() % 8 == 0) {
          driver.start(features, kQueueSize);
        } else {
          driver.transport.pause();
          driver.transport.resume();
        }
        break;
      case 8:
        host_side(input);
        break;
      case 9:
        if (!driver.loop->run_once(0)) std::abort();
        break;
    }
  }
  driver.transport.pause();
  wire::Encoder out;
  driver.transport.save(out);
}

}  // namespace virtio
