#include "api/machines/monitor/monitor_client.h"

#include <fcntl.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

namespace engine {

namespace {
// Nothing a monitor says is longer: Stopped carries at most 4 KiB of console.
constexpr std::size_t kMaxReceived = 16u << 10;
}  // namespace

std::shared_ptr<MonitorClient> MonitorClient::start(net::any_io_executor executor,
                                                    base::UniqueFd socket, Handlers handlers) {
  std::shared_ptr<MonitorClient> client(
      new MonitorClient(executor, std::move(socket), std::move(handlers)));
  net::co_spawn(executor, read(client), net::detached);
  return client;
}

MonitorClient::MonitorClient(net::any_io_executor executor, base::UniqueFd socket,
                             Handlers handlers)
    : executor_(executor), socket_(executor, socket.release()), handlers_(std::move(handlers)) {
  socket_.non_blocking(true);
  ::fcntl(socket_.native_handle(), F_SETFL, O_NONBLOCK);
}

void MonitorClient::close() { end("the monitor is gone"); }

void MonitorClient::end(const std::string& reason) {
  if (closed_) return;
  closed_ = true;
  handlers_ = {};
  queue_.clear();
  boost::system::error_code ignored;
  socket_.close(ignored);
  for (auto& [request, reply] : std::exchange(pending_, {}))
    reply.set(base::Error{base::Code::kUnavailable, reason});
}

void MonitorClient::lose(base::Error error) {
  if (closed_) return;
  const auto lost = std::move(handlers_.lost);
  end(error.message);
  if (lost) lost(std::move(error));
}

net::awaitable<void> MonitorClient::read(std::shared_ptr<MonitorClient> self) {
  while (!self->closed_) {
    base::Result<base::Packet> packet =
        base::receive_packet(self->socket_.native_handle(), kMaxReceived, 0);
    if (packet) {
      if (auto handled = self->handle(*packet); !handled) self->lose(std::move(handled).error());
      continue;
    }
    if (packet.error().code != base::Code::kUnavailable) {
      self->lose(std::move(packet).error());
      co_return;
    }
    co_await self->socket_.async_wait(net::posix::stream_descriptor::wait_read, async::kTuple);
  }
}

base::Result<void> MonitorClient::handle(const base::Packet& packet) {
  if (packet.bytes.empty())
    return base::Error{base::Code::kUnavailable, "the monitor closed its control connection"};
  auto frame = base::open_packet(packet.bytes);
  if (!frame) return std::move(frame).error();
  switch (static_cast<launch::MessageType>(frame->type)) {
    case launch::MessageType::kStatus: {
      const auto status = wire::decode<launch::Status>(frame->payload);
      if (!status) return status.error();
      if (status->version != launch::kVersion)
        return base::Error{base::Code::kNotSupported,
                           "the monitor speaks another version of the protocol: it was not built "
                           "with this containervmd"};
      return {};
    }
    case launch::MessageType::kDone: {
      const auto done = wire::decode<launch::Done>(frame->payload);
      if (!done) return done.error();
      return answer(done->request, launch::Saved{done->request, 0, {}});
    }
    case launch::MessageType::kFailed: {
      const auto failed = wire::decode<launch::Failed>(frame->payload);
      if (!failed) return failed.error();
      if (failed->code > static_cast<std::uint8_t>(base::Code::kInternal))
        return base::Error{base::Code::kDataLoss, "the monitor sent an unknown error code"};
      return answer(failed->request,
                    base::Error{static_cast<base::Code>(failed->code), failed->message});
    }
    case launch::MessageType::kSaved: {
      auto saved = wire::decode<launch::Saved>(frame->payload);
      if (!saved) return std::move(saved).error();
      return answer(saved->request, std::move(*saved));
    }
    case launch::MessageType::kStopped: {
      auto stopped = wire::decode<launch::Stopped>(frame->payload);
      if (!stopped) return std::move(stopped).error();
      if (const auto handler = std::move(handlers_.stopped)) handler(std::move(*stopped));
      return {};
    }
    default:
      return base::Error{base::Code::kDataLoss, "the monitor sent an unknown message"};
  }
}

base::Result<void> MonitorClient::answer(std::uint32_t request, Answer answer) {
  const auto found = pending_.find(request);
  if (found == pending_.end())
    return base::Error{base::Code::kDataLoss, "the monitor answered a request that was not made"};
  async::Reply<Answer> reply = found->second;
  pending_.erase(found);
  reply.set(std::move(answer));
  return {};
}

base::Result<void> MonitorClient::try_send(const Outgoing& packet) {
  std::vector<int> raw;
  for (const base::UniqueFd& fd : packet.descriptors) raw.push_back(fd.get());
  return base::send_packet(socket_.native_handle(), packet.bytes, raw);
}

void MonitorClient::transmit(Outgoing packet) {
  if (queue_.empty() && try_send(packet)) return;
  // A full socket and a dead one look alike here; the reader finds out which.
  queue_.push_back(std::move(packet));
  if (queue_.size() == 1) net::co_spawn(executor_, write_queue(shared_from_this()), net::detached);
}

net::awaitable<void> MonitorClient::write_queue(std::shared_ptr<MonitorClient> self) {
  while (!self->closed_ && !self->queue_.empty()) {
    const auto [error] =
        co_await self->socket_.async_wait(net::posix::stream_descriptor::wait_write, async::kTuple);
    if (error || self->closed_) co_return;
    const auto sent = self->try_send(self->queue_.front());
    if (sent) {
      self->queue_.pop_front();
    } else if (sent.error().code != base::Code::kUnavailable) {
      self->lose(sent.error());
    }
  }
}

}  // namespace engine
