#include "api/machines/monitor/guest_session.h"

#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/write.hpp>

namespace engine {

namespace {
constexpr std::size_t kReadSize = 4u << 10;
}  // namespace

std::shared_ptr<GuestSession> GuestSession::start(net::any_io_executor executor,
                                                  StreamSocket socket, Handlers handlers) {
  std::shared_ptr<GuestSession> session(
      new GuestSession(executor, std::move(socket), std::move(handlers)));
  session->socket_.non_blocking(true);
  net::co_spawn(executor, read(session), net::detached);
  return session;
}

GuestSession::GuestSession(net::any_io_executor executor, StreamSocket socket, Handlers handlers)
    : executor_(std::move(executor)), socket_(std::move(socket)), handlers_(std::move(handlers)) {}

async::Reply<base::Result<protocol::HelloReply>> GuestSession::hello(
    const protocol::Secret& secret) {
  async::Reply<base::Result<protocol::HelloReply>> reply(executor_);
  if (auto queued = queue(wire::frame(protocol::Hello{.secret = secret})); !queued) {
    reply.set(std::move(queued).error());
  } else {
    hello_ = reply;
  }
  return reply;
}

base::Result<void> GuestSession::queue(wire::Bytes frame) {
  if (closed_) return base::Error{base::Code::kUnavailable, "the machine has ended"};
  if (frame.size() > wire::kMaxFrameSize)
    return base::Error{base::Code::kResourceExhausted, "the request is too large for the machine"};
  if (queued_.size() + frame.size() > kMaxQueued)
    return base::Error{base::Code::kUnavailable, "the machine's guest does not read its requests"};
  queued_.insert(queued_.end(), frame.begin(), frame.end());
  return {};
}

void GuestSession::flush() {
  if (closed_ || writing_ || queued_.empty()) return;
  boost::system::error_code error;
  const std::size_t written = socket_.write_some(net::buffer(queued_), error);
  queued_.erase(queued_.begin(), queued_.begin() + static_cast<std::ptrdiff_t>(written));
  if (queued_.empty()) return;
  // The rest waits for room. A socket that is broken is noticed by the reader.
  writing_ = true;
  net::co_spawn(executor_, write(shared_from_this()), net::detached);
}

net::awaitable<void> GuestSession::write(std::shared_ptr<GuestSession> self) {
  while (!self->closed_ && !self->queued_.empty()) {
    const wire::Bytes bytes = std::exchange(self->queued_, {});
    const auto [error, written] =
        co_await net::async_write(self->socket_, net::buffer(bytes), async::kTuple);
    if (error) break;
  }
  self->writing_ = false;
}

net::awaitable<void> GuestSession::read(std::shared_ptr<GuestSession> self) {
  std::array<std::byte, kReadSize> buffer;
  while (!self->closed_) {
    const auto [error, size] =
        co_await self->socket_.async_read_some(net::buffer(buffer), async::kTuple);
    if (self->closed_) co_return;
    if (error) {
      self->lose({base::Code::kUnavailable, "the machine closed its control stream"});
      co_return;
    }
    self->frames_.feed(std::span(buffer).first(size));
    if (auto taken = self->take_frames(); !taken) self->lose(std::move(taken).error());
  }
}

base::Result<void> GuestSession::take_frames() {
  while (!closed_) {
    auto frame = frames_.next();
    if (!frame) return std::move(frame).error();
    if (!frame->has_value()) return {};
    RETURN_IF_ERROR(handle(**frame));
  }
  return {};
}

template <typename M>
base::Result<void> GuestSession::answer_with(const wire::RawFrame& frame) {
  auto message = wire::decode<M>(frame.payload);
  if (!message) return std::move(message).error();
  const auto found = pending_.find(message->request);
  if (found == pending_.end())
    return base::Error{base::Code::kDataLoss, "the guest answered a request that was not made"};
  async::Reply<Answer> reply = found->second;
  pending_.erase(found);
  reply.set(Success(std::move(*message)));
  return {};
}

base::Result<void> GuestSession::handle(const wire::RawFrame& frame) {
  switch (static_cast<protocol::MessageType>(frame.type)) {
    case protocol::MessageType::kDone:
      return answer_with<protocol::Done>(frame);
    case protocol::MessageType::kFailure:
      return answer_with<protocol::Failure>(frame);
    case protocol::MessageType::kProcessStarted:
      return answer_with<protocol::ProcessStarted>(frame);
    case protocol::MessageType::kStatistics:
      return answer_with<protocol::Statistics>(frame);
    case protocol::MessageType::kProcessList:
      return answer_with<protocol::ProcessList>(frame);
    case protocol::MessageType::kProcessExited: {
      auto exited = wire::decode<protocol::ProcessExited>(frame.payload);
      if (!exited) return std::move(exited).error();
      if (handlers_.exited) handlers_.exited(std::move(*exited));
      return {};
    }
    case protocol::MessageType::kNameQuery: {
      auto query = wire::decode<protocol::NameQuery>(frame.payload);
      if (!query) return std::move(query).error();
      if (handlers_.asked) handlers_.asked(std::move(*query));
      return {};
    }
    case protocol::MessageType::kSocketConnected: {
      auto connected = wire::decode<protocol::SocketConnected>(frame.payload);
      if (!connected) return std::move(connected).error();
      if (handlers_.connected) handlers_.connected(*connected);
      return {};
    }
    case protocol::MessageType::kHelloReply: {
      auto reply = wire::decode<protocol::HelloReply>(frame.payload);
      if (!reply) return std::move(reply).error();
      if (!hello_)
        return base::Error{base::Code::kDataLoss,
                           "the guest answered a greeting that was not sent"};
      if (reply->version != protocol::kVersion) {
        const base::Error other{base::Code::kNotSupported,
                                "the guest's init speaks another version of the protocol: it was "
                                "not built with this containervmd"};
        std::exchange(hello_, std::nullopt)->set(other);
        return other;
      }
      std::exchange(hello_, std::nullopt)->set(std::move(*reply));
      return {};
    }
    default:
      return base::Error{base::Code::kDataLoss, "the guest sent an unknown message"};
  }
}

void GuestSession::lose(base::Error error) {
  if (closed_) return;
  const auto lost = std::move(handlers_.lost);
  close();
  if (lost) lost(std::move(error));
}

void GuestSession::close() {
  if (closed_) return;
  closed_ = true;
  handlers_ = {};
  queued_.clear();
  boost::system::error_code ignored;
  socket_.close(ignored);
  const base::Error gone{base::Code::kUnavailable, "the machine has ended"};
  if (hello_) std::exchange(hello_, std::nullopt)->set(gone);
  for (auto& [request, reply] : std::exchange(pending_, {})) reply.set(gone);
}

}  // namespace engine
