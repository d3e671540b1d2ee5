// Any bytes as a template's state of each device: restoring refuses them, or leaves a device that a
// driver can use and start again.
#include <cstdlib>
#include <memory>

#include "vmm/base/fuzz_input.h"
#include "vmm/devices/balloon/balloon.h"
#include "vmm/devices/block/block.h"
#include "vmm/devices/console/console.h"
#include "vmm/devices/net/net.h"
#include "vmm/devices/pmem/pmem.h"
#include "vmm/devices/rng/rng.h"
#include "vmm/devices/vsock/vsock.h"
#include "vmm/virtio/fuzz_driver.h"

namespace {

base::EventLoop& loop() {
  static const auto made = *base::EventLoop::create();
  return *made;
}

std::unique_ptr<virtio::Device> make_device(unsigned kind) {
  static const auto worker = *devices::IoWorker::create(loop());
  switch (kind) {
    case 0:
      return std::make_unique<devices::BlockDevice>(
          devices::BlockDevice::Settings{.capacity_bytes = 4u << 20, .read_only = false, .id = "f"},
          *worker);
    case 1:
      return std::make_unique<devices::NetDevice>(loop(), devices::NetDevice::Mac{});
    case 2:
      return std::make_unique<devices::VsockDevice>(loop(), 3);
    case 3:
      return std::make_unique<devices::ConsoleDevice>();
    case 4:
      return std::make_unique<devices::RngDevice>();
    case 5:
      return std::make_unique<devices::BalloonDevice>();
    default:
      return std::make_unique<devices::PmemDevice>(
          devices::PmemDevice::Range{.start = {0x1'4000'0000}, .size = 0x4000'0000});
  }
}

wire::Bytes true_state(unsigned kind, virtio::FakeMemory& memory) {
  const auto device = make_device(kind);
  virtio::FakeDriver driver(*device, loop(), &memory);
  driver.start();
  driver.transport.pause();
  wire::Encoder out;
  driver.transport.save(out);
  return std::move(out).take();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  base::FuzzInput input(data, size);
  const unsigned kind = input.take<std::uint8_t>() % 7u;
  virtio::FakeMemory memory;
  wire::Bytes state = true_state(kind, memory);
  // Bytes written over the true state, or something else altogether.
  if (input.take<std::uint8_t>() % 8 == 0) {
    const auto bytes = input.take_bytes(2048);
    state.assign(std::as_bytes(bytes).begin(), std::as_bytes(bytes).end());
  }
  for (unsigned changes = input.take<std::uint8_t>() % 16u; changes > 0 && !state.empty();
       --changes)
    state[input.take<std::uint16_t>() % state.size()] = std::byte{input.take<std::uint8_t>()};

  const auto device = make_device(kind);
  virtio::FakeDriver clone(*device, loop(), &memory);
  wire::Decoder in(state);
  if (!clone.transport.restore(in)) return 0;
  clone.transport.resume();
  for (std::uint32_t queue = 0; queue < 4; ++queue) clone.kick(queue);
  if (!loop().run_once(0)) std::abort();
  clone.start();
  for (std::uint32_t queue = 0; queue < 4; ++queue) clone.kick(queue);
  if (!loop().run_once(0)) std::abort();
  return 0;
}
