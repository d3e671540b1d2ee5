#include "guest-init/stream_listener.h"

#include <sys/socket.h>

namespace guest_init {
namespace {

constexpr std::size_t kMostIncoming = 1024;

}  // namespace

base::Result<void> StreamListener::start() {
  auto watch = loop_.watch(socket_.get(), kReadable, [this](std::uint32_t) { accept_one(); });
  if (!watch) return std::move(watch).error();
  watch_ = *std::move(watch);
  return {};
}

void StreamListener::accept_one() {
  base::UniqueFd connection(accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!connection || incoming_.size() >= kMostIncoming) return;
  const std::uint64_t key = next_key_++;
  auto watch =
      loop_.watch(connection.get(), kReadable, [this, key](std::uint32_t) { on_header(key); });
  if (watch) incoming_[key] = {std::move(connection), {}, *std::move(watch)};
}

/// Reads exactly one StreamOpen frame: what follows belongs to the stream.
void StreamListener::on_header(std::uint64_t key) {
  static const std::size_t kHeaderSize = wire::frame(protocol::StreamOpen{}).size();
  Incoming& stream = incoming_.at(key);
  const std::size_t old_size = stream.received.size();
  stream.received.resize(kHeaderSize);
  const ssize_t size = recv(stream.connection.get(), stream.received.data() + old_size,
                            kHeaderSize - old_size, MSG_DONTWAIT);
  stream.received.resize(old_size + (size > 0 ? static_cast<std::size_t>(size) : 0));
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (size > 0 && stream.received.size() < kHeaderSize) return;

  auto node = incoming_.extract(key);
  if (size <= 0) return;
  wire::FrameReader reader;
  reader.feed(node.mapped().received);
  const auto frame = reader.next();
  if (!frame || !*frame ||
      (*frame)->type != static_cast<std::uint16_t>(protocol::MessageType::kStreamOpen))
    return;
  const auto open = wire::decode<protocol::StreamOpen>((*frame)->payload);
  node.mapped().watch.reset();
  if (open) handler_(*open, std::move(node.mapped().connection));
}

}  // namespace guest_init
