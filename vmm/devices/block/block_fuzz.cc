// Any rings and requests to a writable disk.
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/base/fuzz_input.h"
#include "vmm/devices/block/block.h"
#include "vmm/virtio/fuzz_driver.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  base::FuzzInput input(data, size);
  static const auto loop = *base::EventLoop::create();
  static const auto worker = *devices::IoWorker::create(*loop);
  static const base::UniqueFd file(::memfd_create("disk", MFD_CLOEXEC));
  constexpr std::uint64_t kSize = 1u << 20;
  devices::BlockDevice block({.capacity_bytes = 4 * kSize, .read_only = false, .id = "fuzz"},
                             *worker);
  if (input.take<std::uint8_t>() % 8 != 0) {
    std::vector<devices::FileExtent> extents;
    for (const std::uint64_t offset : {std::uint64_t{0}, devices::FileExtent::kAlignment})
      extents.push_back({offset, kSize, base::UniqueFd(::dup(file.get()))});
    if (!block.attach(std::move(extents))) return 0;
  }
  virtio::FakeDriver driver(block, *loop);
  virtio::fuzz_device(input, driver, [](base::FuzzInput&) { worker->drain(); });
  return 0;
}
