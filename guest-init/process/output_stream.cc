#include "guest-init/process/output_stream.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "guest-init/protocol/messages.h"

namespace guest_init {
namespace {

constexpr int kTerminalPause = 2;      // milliseconds without output that end a piece
constexpr int kMostTerminalWaits = 8;  // for one piece: nothing else is served meanwhile

}  // namespace

OutputStream::OutputStream(PollLoop& loop, base::UniqueFd source, std::function<void()> on_end)
    : loop_(loop),
      source_(std::move(source)),
      on_end_(std::move(on_end)),
      buffer_(protocol::kReplayBytes),
      terminal_(isatty(source_.get()) != 0) {}

base::Result<void> OutputStream::start() {
  auto watch = loop_.watch(source_.get(), kReadable, [this](std::uint32_t) { on_source(); });
  if (!watch) return std::move(watch).error();
  source_watch_ = *std::move(watch);
  return {};
}

void OutputStream::attach(base::UniqueFd connection, std::uint64_t offset) {
  if (offset < buffer_.acknowledged() || offset > buffer_.end()) return;
  drop_connection();
  auto watch = loop_.watch(connection.get(), kReadable,
                           [this](std::uint32_t events) { on_connection(events); });
  if (!watch) return;
  connection_.watch = *std::move(watch);
  connection_.fd = std::move(connection);
  connection_.sent = offset;
  send();
  update_watches();
}

void OutputStream::process_exited(bool cut) {
  cut_ = cut_ || cut;
  if (ended_) return;
  read_source();
  send();
  update_watches();
}

void OutputStream::on_source() {
  if (ended_) {
    discard_source();
    return;
  }
  read_source();
  send();
  update_watches();
}

void OutputStream::read_source() {
  int waited = 0;
  while (!ended_ && !buffer_.full()) {
    const std::span<std::byte> space = buffer_.free_space();
    const ssize_t size = read(source_.get(), space.data(), space.size());
    if (size > 0) {
      buffer_.commit(static_cast<std::size_t>(size));
      if (static_cast<std::size_t>(size) < space.size() && !cut_ && !more_follows(waited++)) return;
      continue;
    }
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && errno == EAGAIN) {
      if (cut_) end();
      return;
    }
    // End of file; a terminal says EIO when nobody has it open any more.
    source_watch_.reset();
    source_.reset();
    end();
  }
}

/// After a short read: whether to read again at once.
bool OutputStream::more_follows(int waited) const {
  if (!terminal_ || waited == kMostTerminalWaits) return false;
  pollfd source{source_.get(), POLLIN, 0};
  return poll(&source, 1, kTerminalPause) > 0;
}

/// Somebody still has the pipe open after the end: their output has nowhere to go.
void OutputStream::discard_source() {
  std::array<std::byte, 4096> nowhere;
  const ssize_t size = read(source_.get(), nowhere.data(), nowhere.size());
  if (size > 0 || (size < 0 && (errno == EAGAIN || errno == EINTR))) return;
  source_watch_.reset();
  source_.reset();
}

void OutputStream::end() {
  ended_ = true;
  on_end_();
}

void OutputStream::on_connection(std::uint32_t events) {
  if ((events & (kReadable | EPOLLHUP | EPOLLERR | EPOLLRDHUP)) != 0 && !read_acknowledgements()) {
    drop_connection();
    return;
  }
  connection_.blocked = false;
  // Acknowledged bytes made room: the process may go on.
  if (!ended_) read_source();
  send();
  update_watches();
}

/// False when the host has gone away.
bool OutputStream::read_acknowledgements() {
  std::array<std::byte, 512> bytes;
  const ssize_t size = recv(connection_.fd.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
  if (size < 0) return errno == EAGAIN || errno == EINTR;
  if (size == 0) return false;
  take_acknowledgements(std::span(bytes).first(static_cast<std::size_t>(size)));
  return true;
}

void OutputStream::take_acknowledgements(std::span<const std::byte> bytes) {
  for (const std::byte b : bytes) {
    connection_.ack[connection_.ack_size++] = b;
    if (connection_.ack_size < connection_.ack.size()) continue;
    connection_.ack_size = 0;
    std::uint64_t position = 0;
    wire::Decoder(connection_.ack).get(position);
    // The host can only have what was sent to it; anything else is noise.
    if (position <= connection_.sent) (void)buffer_.acknowledge(position).has_value();
  }
}

void OutputStream::send() {
  if (!connection_.fd || connection_.finished) return;
  for (auto bytes = buffer_.from(connection_.sent); !bytes.empty();
       bytes = buffer_.from(connection_.sent)) {
    const ssize_t size =
        ::send(connection_.fd.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && errno == EAGAIN) {
      connection_.blocked = true;
      return;
    }
    if (size < 0) {
      drop_connection();
      return;
    }
    connection_.sent += static_cast<std::uint64_t>(size);
  }
  if (!ended_ || connection_.sent != buffer_.end()) return;
  shutdown(connection_.fd.get(), SHUT_WR);
  connection_.finished = true;
}

void OutputStream::drop_connection() {
  connection_.watch.reset();
  connection_.fd.reset();
  connection_.finished = false;
  connection_.blocked = false;
  connection_.ack_size = 0;
}

void OutputStream::update_watches() {
  connection_.watch.set_events(connection_.blocked ? kReadable | kWritable : kReadable);
  source_watch_.set_events(ended_ || !buffer_.full() ? kReadable : 0);
}

}  // namespace guest_init
