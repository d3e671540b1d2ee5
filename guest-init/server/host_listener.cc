#include "guest-init/server/host_listener.h"

#include <linux/vm_sockets.h>

#include <algorithm>
#include <cstring>

namespace guest_init {
namespace {

/// Longer than any first frame.
constexpr std::size_t kLongestFirstFrame = 256;

}  // namespace

bool is_host(const sockaddr_storage& peer) {
  sockaddr_vm address{};
  std::memcpy(&address, &peer, sizeof address);
  return address.svm_family == AF_VSOCK && address.svm_cid == VMADDR_CID_HOST;
}

base::Result<void> HostListener::start() {
  auto watch = loop_.watch(port_.socket.get(), kReadable, [this](std::uint32_t) { accept_one(); });
  if (!watch) return std::move(watch).error();
  watch_ = *std::move(watch);
  return {};
}

void HostListener::accept_one() {
  sockaddr_storage peer{};
  socklen_t size = sizeof peer;
  base::UniqueFd connection(accept4(port_.socket.get(), reinterpret_cast<sockaddr*>(&peer), &size,
                                    SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!connection) return;
  if (!is_host_(peer)) return strangers_.tell("a connection that is not the host's was closed");
  if (incoming_.size() >= port_.most_unnamed) return;
  const std::uint64_t key = next_key_++;
  auto watch =
      loop_.watch(connection.get(), kReadable, [this, key](std::uint32_t) { on_readable(key); });
  if (watch) incoming_[key] = {std::move(connection), {}, *std::move(watch)};
}

HostListener::Read HostListener::read_up_to(Incoming& incoming, std::size_t size) {
  const std::size_t before = incoming.received.size();
  if (before >= size) return Read::kWhole;
  incoming.received.resize(size);
  const ssize_t got = recv(incoming.connection.get(), incoming.received.data() + before,
                           size - before, MSG_DONTWAIT);
  incoming.received.resize(before + (got > 0 ? static_cast<std::size_t>(got) : 0));
  if (got < 0) return errno == EAGAIN || errno == EINTR ? Read::kMore : Read::kEnd;
  if (got == 0) return Read::kEnd;
  return incoming.received.size() == size ? Read::kWhole : Read::kMore;
}

/// Exactly one frame: what follows belongs to whoever gets the connection.
HostListener::Read HostListener::read_frame(Incoming& incoming) const {
  if (const Read header = read_up_to(incoming, wire::kFrameHeaderSize); header != Read::kWhole)
    return header;
  wire::Decoder decoder(incoming.received);
  std::uint32_t length = 0;
  protocol::MessageType type{};
  decoder.get(length);
  decoder.get(type);
  if (type != port_.first_frame || length > kLongestFirstFrame) return Read::kEnd;
  return read_up_to(incoming, wire::kFrameHeaderSize + length);
}

void HostListener::on_readable(std::uint64_t key) {
  const Read read = read_frame(incoming_.at(key));
  if (read == Read::kMore) return;
  auto node = incoming_.extract(key);
  if (read == Read::kEnd) return;
  node.mapped().watch.reset();
  handler_(std::span(node.mapped().received).subspan(wire::kFrameHeaderSize),
           std::move(node.mapped().connection));
}

}  // namespace guest_init
