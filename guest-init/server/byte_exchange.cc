#include "guest-init/server/byte_exchange.h"

#include <sys/socket.h>

#include <cerrno>

#include "guest-init/system/connections.h"

namespace guest_init {
namespace {

bool try_again() { return errno == EAGAIN || errno == EINTR; }

}  // namespace

ByteExchange::ByteExchange(base::UniqueFd near, base::UniqueFd far, std::function<void()> on_end)
    : near_(std::move(near)), far_(std::move(far)), on_end_(std::move(on_end)) {
  out_.from = in_.to = near_.get();
  out_.to = in_.from = far_.get();
}

base::Result<std::unique_ptr<ByteExchange>> ByteExchange::start(PollLoop& loop, base::UniqueFd near,
                                                                base::UniqueFd far,
                                                                std::function<void()> on_end) {
  std::unique_ptr<ByteExchange> exchange(
      new ByteExchange(std::move(near), std::move(far), std::move(on_end)));
  ByteExchange* const self = exchange.get();
  auto near_watch = loop.watch(self->near_.get(), kReadable,
                               [self](std::uint32_t events) { self->on_events(true, events); });
  if (!near_watch) return std::move(near_watch).error();
  auto far_watch = loop.watch(self->far_.get(), kReadable,
                              [self](std::uint32_t events) { self->on_events(false, events); });
  if (!far_watch) return std::move(far_watch).error();
  self->near_watch_ = *std::move(near_watch);
  self->far_watch_ = *std::move(far_watch);
  return exchange;
}

void ByteExchange::on_events(bool near, std::uint32_t events) {
  Way& from_it = near ? out_ : in_;
  Way& to_it = near ? in_ : out_;
  // Closed by whoever is there: nobody reads what goes that way. What it wrote before is passed on.
  if ((events & (EPOLLHUP | EPOLLERR)) != 0) to_it.finish();
  from_it.pass_on();
  to_it.pass_on();
  if (from_it.source_ended && was_closed(from_it.from)) to_it.finish();
  if (out_.over && in_.over) {
    near_watch_.reset();
    far_watch_.reset();
    return std::exchange(on_end_, nullptr)();
  }
  update_watches();
}

void ByteExchange::update_watches() {
  // That it was closed is worth knowing as long as somebody writes to it, or might.
  const auto events_of = [](const Way& from_it, const Way& to_it) {
    return (from_it.wants_to_read() ? kReadable : 0) | (to_it.wants_to_write() ? kWritable : 0) |
           (to_it.over ? 0u : static_cast<std::uint32_t>(EPOLLHUP));
  };
  near_watch_.set_events(events_of(out_, in_));
  far_watch_.set_events(events_of(in_, out_));
}

void ByteExchange::Way::pass_on() {
  if (wants_to_read()) read_some();
  if (wants_to_write()) write_some();
  if (!over && source_ended && !buffer) finish();
}

void ByteExchange::Way::read_some() {
  std::unique_ptr<std::byte[]> bytes(new std::byte[kBufferSize]);
  const ssize_t size = recv(from, bytes.get(), kBufferSize, MSG_DONTWAIT);
  if (size > 0) {
    buffer = std::move(bytes);
    begin = 0;
    end = static_cast<std::size_t>(size);
  } else if (size == 0 || !try_again()) {
    source_ended = true;
  }
}

void ByteExchange::Way::write_some() {
  const ssize_t size = send(to, buffer.get() + begin, end - begin, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (size < 0) {
    if (!try_again()) finish();
    return;
  }
  begin += static_cast<std::size_t>(size);
  if (begin == end) buffer.reset();
}

void ByteExchange::Way::finish() {
  if (over) return;
  over = true;
  buffer.reset();
  // Whoever writes there learns that nobody reads, and who reads that nothing comes.
  shutdown(from, SHUT_RD);
  shutdown(to, SHUT_WR);
}

}  // namespace guest_init
