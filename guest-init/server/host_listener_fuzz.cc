// Any bytes in any pieces on several connections to a listener of guest-init, and on a control
// stream: what the listener hands over is the first frame, and nothing is missing after it.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <string>

#include "guest-init/server/control_stream.h"
#include "guest-init/server/host_listener.h"
#include "vmm/base/fuzz_input.h"

namespace guest_init {
namespace {

constexpr std::size_t kMostConnections = 8;

/// `sent`: a connection's whole stream so far, to compare with what arrives after the first frame.
/// It is kept by the run: what a closed connection has sent may still be on its way.
struct Peer {
  base::UniqueFd socket;
  std::string* sent = nullptr;
};

/// A listening socket without a name in the file system, which connect() finds by its own.
struct Door {
  Door() : listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
    sockaddr_un any{};
    any.sun_family = AF_UNIX;
    if (::bind(listener.get(), reinterpret_cast<sockaddr*>(&any), sizeof(sa_family_t)) != 0 ||
        ::listen(listener.get(), kMostConnections) != 0)
      std::abort();
    size = sizeof name;
    ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&name), &size);
  }
  /// Empty while the listener has not taken those that came before: its queue is short.
  base::UniqueFd enter() const {
    base::UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&name), size) == 0) return socket;
    if (errno != EAGAIN) std::abort();
    return {};
  }
  base::UniqueFd listener;
  sockaddr_un name{};
  socklen_t size = 0;
};

void send_piece(Peer& peer, base::FuzzInput& input) {
  const auto bytes = input.take_bytes(input.take<std::uint8_t>() % 64u);
  if (bytes.empty()) return;
  const ssize_t sent =
      ::send(peer.socket.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent > 0)
    peer.sent->append(reinterpret_cast<const char*>(bytes.data()), static_cast<std::size_t>(sent));
}

/// A frame of the kind that opens a stream, with values of the input's.
void send_open(Peer& peer, base::FuzzInput& input) {
  protocol::StreamOpen open;
  open.process = input.take<std::uint32_t>();
  open.stream = static_cast<protocol::Stream>(input.take<std::uint8_t>());
  open.offset = input.take<std::uint64_t>();
  const wire::Bytes frame = wire::frame(open);
  if (::send(peer.socket.get(), frame.data(), frame.size(), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
    peer.sent->append(reinterpret_cast<const char*>(frame.data()), frame.size());
}

void run(base::FuzzInput& input) {
  const auto loop = *PollLoop::create();
  Door door;
  std::array<Peer, kMostConnections> peers;
  std::deque<std::string> sent;
  HostListener listener(
      *loop,
      {base::UniqueFd(::dup(door.listener.get())), protocol::StreamOpen::kType, kMostConnections},
      [](const sockaddr_storage&) { return true; },
      [&](std::span<const std::byte> frame, base::UniqueFd connection) {
        const std::string_view first(reinterpret_cast<const char*>(frame.data()), frame.size());
        std::array<char, 4096> rest{};
        const ssize_t size = ::recv(connection.get(), rest.data(), rest.size(), MSG_DONTWAIT);
        const std::string_view arrived(rest.data(), size > 0 ? static_cast<std::size_t>(size) : 0);
        // One of the peers has sent a whole frame and, after it, just this.
        for (const std::string& one : sent)
          if (one.size() >= wire::kFrameHeaderSize + first.size() &&
              one.substr(wire::kFrameHeaderSize, first.size()) == first &&
              one.substr(wire::kFrameHeaderSize + first.size(), arrived.size()) == arrived)
            return;
        std::abort();
      });
  if (!listener.start()) std::abort();
  std::unique_ptr<ControlStream> control;
  base::UniqueFd host;
  control = std::make_unique<ControlStream>(*loop, [&](const wire::RawFrame& frame) {
    if (frame.payload.size() > wire::kMaxFrameSize) std::abort();
    if (frame.type % 8 == 7) control->close();  // a handler may
    if (frame.type % 8 == 6) control->send(protocol::StreamOpen{});
  });

  for (int steps = 0; !input.empty() && steps < 256; ++steps) {
    Peer& peer = peers[input.take<std::uint8_t>() % peers.size()];
    switch (input.take<std::uint8_t>() % 8) {
      case 0:
        if (!peer.socket) peer = {door.enter(), &sent.emplace_back()};
        break;
      case 1:
      case 2:
        if (peer.socket) send_piece(peer, input);
        break;
      case 3:
        if (peer.socket) send_open(peer, input);
        break;
      case 4:
        peer.socket.reset();
        break;
      case 5: {
        std::array<int, 2> ends{};
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()) != 0)
          std::abort();
        host.reset(ends[0]);
        control->attach(base::UniqueFd(ends[1]));
        break;
      }
      case 6: {
        const auto bytes = input.take_bytes(input.take<std::uint8_t>());
        if (host && !bytes.empty())
          (void)::send(host.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        break;
      }
      default:
        loop->run_once(0);
    }
  }
  loop->run_once(0);
}

}  // namespace
}  // namespace guest_init

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  base::FuzzInput input(data, size);
  guest_init::run(input);
  return 0;
}
