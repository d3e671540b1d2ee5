// Any ring contents: every chain that pop() gives lies inside guest memory and ends.
#include <cstdlib>

#include "vmm/base/fuzz_input.h"
#include "vmm/virtio/fuzz_driver.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  base::FuzzInput input(data, size);
  static virtio::FakeMemory memory;
  static virtio::FakeQueue driver(memory, 16);
  const auto features = std::uint64_t{input.take<std::uint8_t>()} << 28;
  auto queue = virtio::Queue::create(memory, driver.layout(), features, [] {});
  if (!queue) std::abort();
  const std::uint64_t rings = driver.layout().descriptors.value;
  driver.set_available_index(0);
  for (std::uint64_t at = 0; !input.empty() && at < 512; at += 8)
    memory.put(rings + at, input.take<std::uint64_t>());

  virtio::Chain chain;
  for (int i = 0; i < 64; ++i) {
    const auto popped = queue->pop(chain);
    if (!popped || !*popped) break;
    if (chain.readable.parts().size() + chain.writable.parts().size() > 17) std::abort();
    std::byte some[64];
    chain.readable.copy_out(some);
    chain.writable.copy_in(some);
    queue->complete(chain.head, 64);
    queue->interrupt();
    queue->resume_kicks();
  }
  return 0;
}
