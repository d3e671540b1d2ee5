#include "guest-init/process/input_stream.h"

#include <sys/socket.h>
#include <unistd.h>

#include "guest-init/system/connections.h"

namespace guest_init {
namespace {

constexpr std::size_t kBufferSize = 64u << 10;

}  // namespace

InputStream::InputStream(PollLoop& loop, base::UniqueFd sink, bool terminal)
    : loop_(loop), sink_(std::move(sink)), terminal_(terminal) {}

base::Result<void> InputStream::start() {
  auto watch = loop_.watch(sink_.get(), 0, [this](std::uint32_t) {
    write_sink();
    update_watches();
  });
  if (!watch) return std::move(watch).error();
  sink_watch_ = *std::move(watch);
  return {};
}

void InputStream::attach(base::UniqueFd connection) {
  if (!sink_ || end_of_file_) return;
  connection_watch_.reset();
  auto watch = loop_.watch(connection.get(), kReadable, [this](std::uint32_t) { on_connection(); });
  if (!watch) return;
  connection_watch_ = *std::move(watch);
  connection_ = std::move(connection);
  if (!buffer_) buffer_.reset(new std::byte[kBufferSize]);
  update_watches();
}

void InputStream::on_connection() {
  fill();
  write_sink();
  update_watches();
}

void InputStream::fill() {
  if (buffered() != 0) return;
  begin_ = end_ = 0;
  const ssize_t size = recv(connection_.get(), buffer_.get(), kBufferSize, MSG_DONTWAIT);
  if (size > 0) {
    end_ = static_cast<std::size_t>(size);
    return;
  }
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
  // A host that closed the connection (its daemon was killed) will connect again: only a half-close
  // is the process's end of file.
  end_of_file_ = size == 0 && !was_closed(connection_.get());
  connection_watch_.reset();
  connection_.reset();
}

void InputStream::write_sink() {
  while (sink_ && buffered() != 0) {
    const ssize_t size = write(sink_.get(), buffer_.get() + begin_, buffered());
    if (size > 0) {
      begin_ += static_cast<std::size_t>(size);
      continue;
    }
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && errno == EAGAIN) return;
    close();  // nobody reads any more
    return;
  }
  if (end_of_file_) close();
}

void InputStream::close() {
  sink_watch_.reset();
  connection_watch_.reset();
  connection_.reset();
  if (!terminal_ || !end_of_file_) sink_.reset();
  begin_ = end_ = 0;
}

void InputStream::process_exited() {
  close();
  sink_.reset();
}

void InputStream::update_watches() {
  sink_watch_.set_events(buffered() != 0 ? kWritable : 0);
  connection_watch_.set_events(buffered() == 0 ? kReadable : 0);
}

}  // namespace guest_init
