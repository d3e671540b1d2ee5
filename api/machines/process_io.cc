#include "api/machines/process_io.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/write.hpp>

#include "api/async/read_available.h"

namespace engine {

namespace {

constexpr std::size_t kPumpBytes = 64u << 10;

wire::Bytes acknowledgement(std::uint64_t total) {
  wire::Encoder encoder;
  encoder.put(total);
  return std::move(encoder).take();
}

}  // namespace

void ProcessIo::open(protocol::Stream stream, StreamSocket socket, const protocol::Secret& secret,
                     std::uint64_t offset) {
  const protocol::StreamOpen request{
      .process = id_, .stream = stream, .offset = offset, .secret = secret};
  boost::system::error_code ignored;   // a broken stream shows as its end
  socket.non_blocking(true, ignored);  // one guest must not stop the thread of all
  net::write(socket, net::buffer(wire::frame(request)), ignored);
  if (stream == protocol::Stream::kStdin) {
    stdin_ = std::move(socket);
    return;
  }
  output(stream) = Output{.ended = false, .taken = offset};
  net::co_spawn(executor_, pump(shared_from_this(), stream, std::move(socket)), net::detached);
}

net::awaitable<void> ProcessIo::pump(std::shared_ptr<ProcessIo> self, protocol::Stream stream,
                                     StreamSocket socket) {
  Output& output = self->output(stream);
  while (!self->outcome_.has_value()) {
    std::vector<std::byte> bytes = co_await async::read_available(socket, kPumpBytes);
    if (bytes.empty()) break;
    const std::size_t size = bytes.size();
    if (self->sink_) co_await self->sink_->write(stream, std::move(bytes));
    output.taken += size;
    self->finish_if_complete();
    const std::size_t kept_back = self->sink_ ? self->sink_->unsafe_bytes(stream) : 0;
    const wire::Bytes taken = acknowledgement(output.taken - std::min(output.taken, kept_back));
    const auto [error, written] =
        co_await net::async_write(socket, net::buffer(taken), async::kTuple);
    if (error == net::error::operation_aborted)
      break;  // else: bytes may still be waiting to be read
  }
  output.ended = true;
  self->finish_if_complete();
}

net::awaitable<base::Result<void>> ProcessIo::write_stdin(std::vector<std::byte> bytes) {
  return write(shared_from_this(), std::move(bytes));
}

net::awaitable<base::Result<void>> ProcessIo::write(std::shared_ptr<ProcessIo> self,
                                                    std::vector<std::byte> bytes) {
  if (!self->stdin_ || self->stdin_closing_)
    co_return base::Error{base::Code::kConflict, "standard input is not open"};
  if (self->stdin_writing_)
    co_return base::Error{base::Code::kConflict, "another write to standard input is under way"};
  self->stdin_writing_ = true;
  const auto [error, written] =
      co_await net::async_write(*self->stdin_, net::buffer(bytes), async::kTuple);
  self->stdin_writing_ = false;
  if (self->stdin_closing_) self->half_close_stdin();
  if (error)
    co_return base::Error{base::Code::kUnavailable, "the process no longer reads standard input"};
  co_return base::Result<void>();
}

void ProcessIo::close_stdin() {
  stdin_closing_ = true;
  if (!stdin_writing_) half_close_stdin();
}

void ProcessIo::half_close_stdin() {
  boost::system::error_code ignored;
  if (stdin_) stdin_->shutdown(StreamSocket::shutdown_send, ignored);
}

void ProcessIo::exited(protocol::ProcessExited message) {
  if (exited_) return;  // repeated after every HelloReply
  exited_ = std::move(message);
  finish_if_complete();
}

void ProcessIo::machine_ended(base::Error why) {
  if (!machine_ended_) machine_ended_ = std::move(why);
  if (sink_) sink_->hurry();
  finish_if_complete();
}

void ProcessIo::finish_if_complete() {
  const auto complete = [](const Output& output, std::uint64_t total) {
    return output.ended || output.taken >= total;
  };
  if (exited_ && complete(outputs_[0], exited_->stdout_bytes) &&
      complete(outputs_[1], exited_->stderr_bytes)) {
    outcome_.set(exited_->status);
  } else if (machine_ended_ && outputs_[0].ended && outputs_[1].ended) {
    // Should some of its output be lost with the machine, its status is known nevertheless.
    outcome_.set(exited_ ? Outcome(exited_->status) : Outcome(*machine_ended_));
  } else {
    return;
  }
  if (stdin_ && !stdin_writing_) stdin_.reset();
  stdin_closing_ = true;
}

}  // namespace engine
