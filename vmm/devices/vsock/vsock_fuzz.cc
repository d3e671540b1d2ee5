// Any rings and packets to the vsock device, with sockets that come, talk and go.
#include <sys/socket.h>

#include "vmm/base/fuzz_input.h"
#include "vmm/base/seqpacket.h"
#include "vmm/devices/vsock/vsock.h"
#include "vmm/virtio/fuzz_driver.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  base::FuzzInput input(data, size);
  static const auto loop = *base::EventLoop::create();
  devices::VsockDevice vsock(*loop, 3);
  virtio::FakeDriver driver(vsock, *loop);
  std::vector<base::UniqueFd> peers;
  const auto new_socket = [&]() -> base::Result<base::UniqueFd> {
    auto pair = base::make_socket_pair(SOCK_STREAM);
    if (!pair) return pair.error();
    peers.push_back(std::move(pair->first));
    return std::move(pair->second);
  };
  vsock.listen(0, new_socket);
  virtio::fuzz_device(input, driver, [&](base::FuzzInput& more) {
    const auto what = more.take<std::uint8_t>() % 4;
    if ((what == 0 || peers.empty()) && peers.size() < 8) {
      // One connection that the guest has accepted, so that its packets find one.
      const std::uint32_t port = 0x4000'0000 + static_cast<std::uint32_t>(peers.size());
      auto socket = new_socket();
      if (!socket || !vsock.open_stream(1, port, *std::move(socket))) return;
      const devices::VsockHeader response{.source_cid = 3,
                                          .destination_cid = 2,
                                          .source_port = 1,
                                          .destination_port = port,
                                          .operation = devices::kVsockResponse,
                                          .buffer_size = 4096};
      driver.memory.put(0x100000, response);
      return;
    }
    if (peers.empty()) return;
    base::UniqueFd& peer = peers[more.take<std::uint8_t>() % peers.size()];
    std::byte bytes[512]{};
    if (what == 1) ::send(peer.get(), bytes, sizeof bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (what == 2) ::recv(peer.get(), bytes, sizeof bytes, MSG_DONTWAIT);
    if (what == 3) peer.reset();
  });
  return 0;
}
