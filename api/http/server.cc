#include "api/http/server.h"

#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstring>
#include <utility>

#include "api/async/notifier.h"
#include "api/http/connection.h"

namespace http {

using base::Code;
using base::Error;
using base::Result;

namespace {

Result<sockaddr_un> address_of(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string& text = path.native();
  if (text.empty() || text.size() >= sizeof address.sun_path)
    return Error{Code::kInvalidArgument,
                 "socket path " + text + " is longer than 107 bytes; choose a shorter directory"};
  std::memcpy(address.sun_path, text.data(), text.size());
  return address;
}

/// Whether a process accepts connections at `address`.
bool is_served(const sockaddr_un& address) {
  const base::UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return probe &&
         ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

constexpr std::chrono::seconds kSweepPause{5};

constexpr std::string_view kBusy =
    "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
    "Content-Length: 35\r\nConnection: close\r\n\r\n{\"message\":\"too many connections\"}\n";

bool has_input(int socket) {
  char next{};
  return ::recv(socket, &next, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

}  // namespace

Result<base::UniqueFd> listen_unix(const std::filesystem::path& path) {
  const auto address = address_of(path);
  if (!address) return address.error();
  struct stat existing {};
  if (::lstat(path.c_str(), &existing) == 0) {
    if (!S_ISSOCK(existing.st_mode))
      return Error{Code::kAlreadyExists, path.string() + " exists and is not a socket"};
    if (is_served(*address))
      return Error{Code::kAlreadyExists, "another process listens on " + path.string()};
    if (::unlink(path.c_str()) != 0) return base::errno_error("unlink " + path.string());
  }
  base::UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return base::errno_error("socket");
  // The mode must be right before the first connection can arrive: listen() comes last.
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0)
    return base::errno_error("bind " + path.string());
  if (::chmod(path.c_str(), 0660) != 0) return base::errno_error("chmod " + path.string());
  // When this queue is full the kernel refuses clients that do not wait for their connection. The
  // queue is as long as the kernel allows, so that a burst does not fill it.
  if (::listen(socket.get(), SOMAXCONN) != 0) return base::errno_error("listen " + path.string());
  return socket;
}

/// Shared with the connections' completion handlers, which may run after the Server has gone.
struct Server::State {
  using Acceptor = net::local::stream_protocol::acceptor;

  State(net::any_io_executor the_executor, const Router& the_router, Options the_options)
      : executor(std::move(the_executor)),
        router(the_router),
        options(std::move(the_options)),
        acceptor(executor),
        clients(options.limits),
        sweep_timer(executor),
        changed(executor) {}

  static net::awaitable<void> accept_loop(std::shared_ptr<State> self);
  static net::awaitable<void> sweep(std::shared_ptr<State> self);
  static void serve(std::shared_ptr<State> self, StreamSocket socket);

  net::any_io_executor executor;
  const Router& router;
  const Options options;
  Acceptor acceptor;
  bool accepting = false;
  bool stopping = false;
  bool sweeping = false;
  Clients clients;
  net::steady_timer sweep_timer;
  async::Notifier changed;
};

net::awaitable<void> Server::State::accept_loop(std::shared_ptr<State> self) {
  while (self->acceptor.is_open()) {
    StreamSocket socket(self->executor);
    auto [error, accepted] = co_await self->acceptor.async_accept(async::kTuple);
    if (error == net::error::operation_aborted) break;
    if (error) {
      // Out of descriptors, most likely: serve those that are connected, then go on.
      spdlog::warn("accept: {}", error.message());
      net::steady_timer pause(self->executor, std::chrono::milliseconds(100));
      co_await pause.async_wait(async::kTuple);
      continue;
    }
    serve(self, StreamSocket(std::move(accepted)));
  }
}

/// Ends idle connections for as long as there are any.
net::awaitable<void> Server::State::sweep(std::shared_ptr<State> self) {
  while (!self->clients.empty() && !self->stopping) {
    self->sweep_timer.expires_after(
        std::min<std::chrono::milliseconds>(kSweepPause, self->options.limits.idle_when_crowded));
    co_await self->sweep_timer.async_wait(async::kTuple);
    if (!self->stopping) self->clients.end_idle(Activity::Clock::now(), has_input);
  }
  self->sweeping = false;
}

void Server::State::serve(std::shared_ptr<State> self, StreamSocket socket) {
  if (self->stopping) return;
  const ClientId client = client_of(socket.native_handle());
  if (!self->clients.make_room(client, has_input)) {
    [[maybe_unused]] const auto sent =
        ::send(socket.native_handle(), kBusy.data(), kBusy.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    return;
  }
  const auto cancel = std::make_shared<net::cancellation_signal>();
  const auto place =
      self->clients.add({.client = client, .socket = socket.native_handle(), .end = [cancel] {
                           cancel->emit(net::cancellation_type::terminal);
                         }});
  ConnectionContext context{.router = self->router,
                            .fixed_headers = self->options.fixed_headers,
                            .timeouts = self->options.timeouts,
                            .client = client,
                            .activity = place->activity};
  net::co_spawn(
      self->executor, serve_connection(std::move(socket), std::move(context)),
      net::bind_cancellation_slot(cancel->slot(), [self, place, cancel](const std::exception_ptr&) {
        self->clients.remove(place);
        self->changed.notify_all();
      }));
  if (!std::exchange(self->sweeping, true))
    net::co_spawn(self->executor, sweep(self), net::detached);
}

Server::Server(net::any_io_executor executor, const Router& router, Options options)
    : state_(std::make_shared<State>(std::move(executor), router, std::move(options))) {}

Server::~Server() {
  state_->stopping = true;
  boost::system::error_code ignored;
  state_->acceptor.close(ignored);
  state_->sweep_timer.cancel();
}

Result<void> Server::start(base::UniqueFd listener) {
  boost::system::error_code error;
  state_->acceptor.assign(net::local::stream_protocol(), listener.get(), error);
  if (error) return Error{Code::kInternal, "listen socket: " + error.message()};
  listener.release();
  state_->accepting = true;
  net::co_spawn(state_->executor, State::accept_loop(state_),
                [state = state_](const std::exception_ptr&) {
                  state->accepting = false;
                  state->changed.notify_all();
                });
  return {};
}

void Server::adopt(base::UniqueFd socket) {
  StreamSocket adopted(state_->executor);
  boost::system::error_code error;
  adopted.assign(net::generic::stream_protocol(AF_UNIX, 0), socket.get(), error);
  if (error) return;
  socket.release();
  State::serve(state_, std::move(adopted));
}

net::awaitable<void> Server::stop() {
  const std::shared_ptr<State> state = state_;
  state->stopping = true;
  boost::system::error_code ignored;
  state->acceptor.close(ignored);
  state->sweep_timer.cancel();
  state->clients.end_all();
  while (!state->clients.empty() || state->accepting) co_await state->changed.wait();
}

}  // namespace http
