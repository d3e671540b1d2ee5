// Any rings and frames to the net device; a packet socket stands for the tap.
#include <fcntl.h>
#include <sys/socket.h>

#include "vmm/base/fuzz_input.h"
#include "vmm/base/seqpacket.h"
#include "vmm/devices/net/net.h"
#include "vmm/virtio/fuzz_driver.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  base::FuzzInput input(data, size);
  static const auto loop = *base::EventLoop::create();
  auto pair = base::make_socket_pair(SOCK_SEQPACKET);
  if (!pair || ::fcntl(pair->second.get(), F_SETFL, O_NONBLOCK) != 0) return 0;
  devices::NetDevice net(*loop, {});
  if (!net.attach(std::move(pair->second), {})) return 0;
  virtio::FakeDriver driver(net, *loop);
  virtio::fuzz_device(input, driver, [&](base::FuzzInput& more) {
    std::byte bytes[4096]{};
    const std::size_t count = more.take<std::uint16_t>() % sizeof bytes;
    ::send(pair->first.get(), bytes, count, MSG_DONTWAIT | MSG_NOSIGNAL);
    ::recv(pair->first.get(), bytes, sizeof bytes, MSG_DONTWAIT);
  });
  return 0;
}
