#include "guest-init/server/name_relay.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>

namespace guest_init {
namespace {

constexpr std::size_t kHeader = 12;  // of a message; nothing shorter is one
constexpr std::size_t kLength = 2;   // in front of a message of TCP

}  // namespace

base::Result<std::unique_ptr<NameRelay>> NameRelay::start(PollLoop& loop, ResolverSockets sockets,
                                                          Ask ask) {
  std::unique_ptr<NameRelay> relay(new NameRelay(loop, std::move(sockets), std::move(ask)));
  NameRelay* const self = relay.get();
  auto datagrams = loop.watch(relay->sockets_.datagrams.get(), kReadable,
                              [self](std::uint32_t) { self->on_datagrams(); });
  if (!datagrams) return std::move(datagrams).error();
  auto listener = loop.watch(relay->sockets_.listener.get(), kReadable,
                             [self](std::uint32_t) { self->on_connections(); });
  if (!listener) return std::move(listener).error();
  relay->datagrams_watch_ = *std::move(datagrams);
  relay->listener_watch_ = *std::move(listener);
  return relay;
}

void NameRelay::on_datagrams() {
  std::array<std::byte, protocol::kMaxNameMessage + 1> buffer;
  for (int i = 0; i < kQuestionsAtOnce; ++i) {
    Asker asker;
    socklen_t size = sizeof asker.address;
    const ssize_t length = recvfrom(sockets_.datagrams.get(), buffer.data(), buffer.size(), 0,
                                    reinterpret_cast<sockaddr*>(&asker.address), &size);
    if (length < 0) return;
    ask(asker, std::span(buffer).first(static_cast<std::size_t>(length)));
  }
}

void NameRelay::on_connections() {
  base::UniqueFd socket(
      accept4(sockets_.listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!socket) return;
  if (streams_.size() >= kMostStreams) streams_.erase(streams_.begin());
  const std::uint32_t number = next_stream_++;
  Stream& stream = streams_[number];
  stream.socket = std::move(socket);
  auto watch = loop_.watch(stream.socket.get(), kReadable,
                           [this, number](std::uint32_t) { on_stream(number); });
  if (watch) {
    stream.watch = *std::move(watch);
  } else {
    streams_.erase(number);
  }
}

/// One message at a time: the next is read when it comes to its turn.
void NameRelay::on_stream(std::uint32_t number) {
  Stream& stream = streams_.at(number);
  std::array<std::byte, kLength + protocol::kMaxNameMessage> buffer;
  const std::size_t room = buffer.size() - stream.received.size();
  const ssize_t size = recv(stream.socket.get(), buffer.data(), room, 0);
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (size <= 0) {
    streams_.erase(number);
    return;
  }
  stream.received.insert(stream.received.end(), buffer.begin(), buffer.begin() + size);
  while (stream.received.size() >= kLength) {
    const std::size_t length = static_cast<std::size_t>(stream.received[0]) << 8 |
                               static_cast<std::size_t>(stream.received[1]);
    if (length < kHeader || length > protocol::kMaxNameMessage) {
      streams_.erase(number);
      return;
    }
    if (stream.received.size() < kLength + length) return;
    ask({.address = {}, .stream = number}, std::span(stream.received).subspan(kLength, length));
    stream.received.erase(stream.received.begin(),
                          stream.received.begin() + static_cast<std::ptrdiff_t>(kLength + length));
  }
}

void NameRelay::ask(const Asker& asker, std::span<const std::byte> message) {
  if (message.size() < kHeader || message.size() > protocol::kMaxNameMessage) return;
  if (pending_.size() >= kMostPending) pending_.erase(pending_.begin());
  protocol::NameQuery query;
  query.query = next_query_++;
  query.stream = asker.stream != 0;
  query.message.assign(message.begin(), message.end());
  pending_.emplace(query.query, asker);
  ask_(query);
}

void NameRelay::answer(const protocol::NameAnswer& answer) {
  const auto found = pending_.find(answer.query);
  if (found == pending_.end()) return;
  const Asker asker = found->second;
  pending_.erase(found);
  if (asker.stream == 0) {
    // A process that does not wait any more loses nothing.
    (void)sendto(sockets_.datagrams.get(), answer.message.data(), answer.message.size(), 0,
                 reinterpret_cast<const sockaddr*>(&asker.address), sizeof asker.address);
    return;
  }
  if (const auto stream = streams_.find(asker.stream); stream != streams_.end())
    answer_stream(stream->second, answer.message);
}

void NameRelay::answer_stream(Stream& stream, const wire::Bytes& message) {
  std::array<std::byte, kLength> length{static_cast<std::byte>(message.size() >> 8),
                                        static_cast<std::byte>(message.size())};
  std::array<iovec, 2> parts{iovec{length.data(), length.size()},
                             iovec{const_cast<std::byte*>(message.data()), message.size()}};
  msghdr header{};
  header.msg_iov = parts.data();
  header.msg_iovlen = parts.size();
  // Whoever asks and does not read what it is answered gets a cut answer, and then none.
  const ssize_t sent = sendmsg(stream.socket.get(), &header, MSG_NOSIGNAL);
  if (sent != static_cast<ssize_t>(kLength + message.size()))
    shutdown(stream.socket.get(), SHUT_RDWR);
}

}  // namespace guest_init
