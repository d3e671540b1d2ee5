// What a machine's containers have of the host's sockets.
#include <spdlog/spdlog.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/write.hpp>

#include "api/machines/clone_machine.h"
#include "api/machines/socket_exchange.h"
#include "vmm/base/scope_exit.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;

void CloneMachine::socket_connected(protocol::SocketConnected message) {
  // guest-init has kMostSocketConnections at most. Of those that it has ended, some may not be
  // closed here yet.
  constexpr std::size_t kMostOpen = 2 * protocol::kMostSocketConnections;
  if (ending_.forced || ending_.conclusion) return;
  if (sockets_.open >= kMostOpen) return refuse_socket(message);
  ++sockets_.open;
  net::co_spawn(context_.executor, serve_socket(shared_from_this(), message), net::detached);
}

void CloneMachine::refuse_socket(protocol::SocketConnected message) {
  if (!session_) return;
  session_->tell(protocol::SocketRefused{.connection = message.connection});
  session_->flush();
}

net::awaitable<void> CloneMachine::serve_socket(std::shared_ptr<CloneMachine> self,
                                                protocol::SocketConnected message) {
  const base::ScopeExit closed([&self] { --self->sockets_.open; });
  auto host = co_await self->connect_to_host(message);
  if (self->ending_.forced || self->ending_.conclusion) co_return;
  Result<StreamSocket> guest = Error{Code::kUnavailable, {}};
  if (host) guest = self->open_socket(message.connection);
  if (!host || !guest) {
    const Error& why = host ? guest.error() : host.error();
    spdlog::debug("machine {}: {}", self->identity_.id, why.message);
    co_return self->refuse_socket(message);
  }
  co_await SocketExchange::run(self->context_.executor, *std::move(guest), *std::move(host));
}

net::awaitable<Result<StreamSocket>> CloneMachine::connect_to_host(
    protocol::SocketConnected message) {
  const auto container = sockets_.paths.find(message.container);
  if (container == sockets_.paths.end())
    co_return Error{Code::kNotFound, "the container has no socket of the host"};
  const auto path = container->second.find(message.socket);
  if (path == container->second.end())
    co_return Error{Code::kNotFound, "the container has no such socket of the host"};
  auto connected = co_await process_->connect_host_socket(path->second);
  if (!connected) co_return std::move(connected).error();
  co_return StreamSocket(context_.executor, net::local::stream_protocol(), connected->release());
}

/// The guest's side of the connection.
Result<StreamSocket> CloneMachine::open_socket(std::uint32_t connection) {
  auto socket = streams_->open_socket();
  if (!socket) return socket;
  boost::system::error_code ignored;  // a broken one shows as its end
  socket->non_blocking(true, ignored);
  net::write(*socket,
             net::buffer(wire::frame(
                 protocol::SocketOpen{.connection = connection, .secret = identity_.secret})),
             ignored);
  return socket;
}

}  // namespace engine
