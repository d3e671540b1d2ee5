// Any rings and buffers to the console, the entropy device, the balloon and persistent memory.
#include "vmm/base/fuzz_input.h"
#include "vmm/devices/balloon/balloon.h"
#include "vmm/devices/console/console.h"
#include "vmm/devices/pmem/pmem.h"
#include "vmm/devices/rng/rng.h"
#include "vmm/virtio/fuzz_driver.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  base::FuzzInput input(data, size);
  devices::ConsoleDevice console;
  devices::RngDevice rng;
  devices::BalloonDevice balloon;
  devices::PmemDevice pmem({.start = {0x1'4000'0000}, .size = 0x4000'0000});
  virtio::Device* const all[] = {&console, &rng, &balloon, &pmem};
  virtio::FakeDriver driver(*all[input.take<std::uint8_t>() % std::size(all)]);
  virtio::fuzz_device(input, driver, [&](base::FuzzInput& more) {
    balloon.set_target(more.take<std::uint32_t>());
    static_cast<void>(console.tail(more.take<std::uint16_t>()));
  });
  return 0;
}
