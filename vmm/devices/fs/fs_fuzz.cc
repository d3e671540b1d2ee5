// Any rings and requests to the file system device, and any bytes as its server's replies.
#include <sys/socket.h>

#include <algorithm>

#include "vmm/base/fuzz_input.h"
#include "vmm/base/seqpacket.h"
#include "vmm/devices/fs/fs.h"
#include "vmm/virtio/fuzz_driver.h"

namespace {

/// The header of a reply to one of the first requests, or any bytes.
void reply(base::FuzzInput& more, int server) {
  std::byte bytes[4096]{};
  const std::size_t count = more.take<std::uint16_t>() % sizeof bytes;
  if (more.take<std::uint8_t>() % 2 == 0) {
    const fuse_out_header header{static_cast<std::uint32_t>(std::max(count, sizeof header)), 0,
                                 more.take<std::uint8_t>() % 8u};
    std::memcpy(bytes, &header, sizeof header);
  }
  ::send(server, bytes, count, MSG_DONTWAIT | MSG_NOSIGNAL);
  ::recv(server, bytes, sizeof bytes, MSG_DONTWAIT);
}

/// Makes the guest's bytes a request as long as it says, so that it gets as far as the socket.
void request(base::FuzzInput& more, virtio::FakeDriver& driver) {
  constexpr std::uint64_t kRequest = 0x80000;
  const std::uint32_t size = sizeof(fuse_in_header) + more.take<std::uint16_t>();
  fuse_in_header header{};
  header.len = size;
  header.opcode = more.take<std::uint8_t>() % 64;
  header.unique = more.take<std::uint64_t>();
  driver.memory.put(kRequest, header);
  const std::uint32_t queue = more.take<std::uint8_t>() % 2;
  driver.queue(queue).offer(
      {{.at = kRequest, .size = size},
       {.at = 0x200000, .size = more.take<std::uint16_t>(), .writable = true}});
  driver.kick(queue);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  base::FuzzInput input(data, size);
  static const auto loop = *base::EventLoop::create();
  auto pair = base::make_socket_pair(SOCK_STREAM);
  if (!pair) return 0;
  devices::FsDevice fs(*loop);
  if (!fs.attach(std::move(pair->second))) return 0;
  virtio::FakeDriver driver(fs, *loop);
  virtio::fuzz_device(input, driver, [&](base::FuzzInput& more) {
    const auto what = more.take<std::uint8_t>() % 16;
    if (what == 0) return pair->first.reset();
    if (what % 2 == 0) return request(more, driver);
    if (pair->first) reply(more, pair->first.get());
  });
  return 0;
}
