#include "api/machines/monitor/file_server.h"

#include <fcntl.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <functional>
#include <memory>

#include "api/async/readiness.h"
#include "api/machines/monitor/control_socket.h"
#include "vmm/base/seqpacket.h"

namespace engine {

namespace {

using base::Code;
using base::Error;
using base::Result;
namespace server = launch::file_server;

/// What may wait in the socket to the monitor, in bytes: a whole request of a megabyte fits.
constexpr int kSocketBuffer = 2 << 20;

Result<wire::RawFrame> receive(int socket, base::Packet& packet) {
  pollfd ready{socket, POLLIN, 0};
  const int found = ::poll(&ready, 1, static_cast<int>(FileServer::kPatience.count()));
  if (found < 0) return base::errno_error("poll");
  if (found == 0) return Error{Code::kDeadlineExceeded, "the file server does not answer"};
  auto received = base::receive_packet(socket, server::kMaxPacket, 0);
  if (!received) return std::move(received).error();
  packet = *std::move(received);
  if (packet.bytes.empty()) return Error{Code::kUnavailable, "the file server has ended"};
  return base::open_packet(packet.bytes);
}

Result<void> expect_greeting(int socket) {
  base::Packet packet;
  const auto frame = receive(socket, packet);
  if (!frame) return frame.error();
  const auto status = wire::decode<server::Status>(frame->payload);
  if (static_cast<server::MessageType>(frame->type) != server::MessageType::kStatus || !status)
    return Error{Code::kDataLoss, "the file server does not greet"};
  if (status->version == server::kVersion) return {};
  return Error{Code::kNotSupported, "the machine's file server is of another version"};
}

Result<void> expect_done(int socket) {
  base::Packet packet;
  const auto frame = receive(socket, packet);
  if (!frame) return frame.error();
  switch (static_cast<server::MessageType>(frame->type)) {
    case server::MessageType::kDone:
      return {};
    case server::MessageType::kFailed: {
      auto failed = wire::decode<server::Failed>(frame->payload);
      if (!failed) return std::move(failed).error();
      if (failed->code > static_cast<std::uint8_t>(Code::kInternal))
        failed->code = static_cast<std::uint8_t>(Code::kInternal);
      return Error{static_cast<Code>(failed->code), std::move(failed->message)};
    }
    default:
      return Error{Code::kDataLoss, "the file server's answer is of an unknown type"};
  }
}

Result<base::UniqueFd> open_log(const std::filesystem::path& directory) {
  const std::string path = directory / "files.log";
  base::UniqueFd log(
      ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!log) return base::errno_error("create " + path);
  return log;
}

/// Reaps the server, and tells the log if it did not end in order.
net::awaitable<void> reap(std::unique_ptr<net::posix::stream_descriptor> pidfd,
                          std::string machine) {
  co_await async::wait_until_ready(*pidfd, net::posix::stream_descriptor::wait_read);
  siginfo_t info{};
  const auto id = static_cast<id_t>(pidfd->native_handle());
  while (::waitid(P_PIDFD, id, &info, WEXITED) != 0)
    if (errno != EINTR) co_return;
  const bool in_order = info.si_code == CLD_EXITED && info.si_status == 0;
  const bool killed = info.si_code != CLD_EXITED && info.si_status == SIGKILL;  // with its machine
  if (!in_order && !killed)
    spdlog::error("the file server of machine {} ended: {} {}", machine.substr(0, 12),
                  info.si_code == CLD_EXITED ? "status" : "signal", info.si_status);
}

}  // namespace

bool FileServer::is_started() const {
  std::error_code ignored;
  return std::filesystem::exists(directory_ / kFileServerSocket, ignored);
}

net::awaitable<Result<base::UniqueFd>> FileServer::start() {
  auto control = listen_in(directory_, kFileServerSocket);
  if (!control) co_return std::move(control).error();
  auto session = co_await spawn(*std::move(control));
  // The next one that needs a server tries again.
  std::error_code ignored;
  if (!session) std::filesystem::remove(directory_ / kFileServerSocket, ignored);
  co_return session;
}

net::awaitable<Result<base::UniqueFd>> FileServer::spawn(base::UniqueFd control) {
  const auto log = open_log(directory_);
  if (!log) co_return log.error();
  auto session = base::make_socket_pair(SOCK_STREAM);
  if (!session) co_return std::move(session).error();
  for (const base::UniqueFd* end : {&session->first, &session->second})
    ::setsockopt(end->get(), SOL_SOCKET, SO_SNDBUFFORCE, &kSocketBuffer, sizeof kSocketBuffer);
  FileServerSpec spec;
  spec.program = parts_.program;
  spec.slot = slot_;
  spec.session_socket = session->second.get();
  spec.control_socket = control.get();
  spec.log_file = log->get();
  auto spawned = co_await parts_.privileged.spawn_file_server(spec);
  if (!spawned) co_return base::annotate(std::move(spawned).error(), "start the file server");
  auto pidfd =
      std::make_unique<net::posix::stream_descriptor>(parts_.executor, spawned->pidfd.release());
  net::co_spawn(parts_.executor, reap(std::move(pidfd), directory_.filename()), net::detached);
  co_return std::move(session->first);
}

net::awaitable<Result<void>> FileServer::add(std::vector<SharedTree> trees) {
  std::vector<Packet> packets;
  for (SharedTree& shared : trees) {
    server::AddTree add;
    add.request = static_cast<std::uint32_t>(packets.size() + 1);
    add.number = shared.number;
    add.read_only = shared.tree.read_only;
    add.caching = shared.caching;
    auto tree = co_await parts_.privileged.open_host_tree(std::move(shared.tree));
    if (!tree) co_return std::move(tree).error();
    packets.push_back({base::packet_of(add), *std::move(tree)});
  }
  auto added = co_await exchange(std::move(packets));
  if (added || trees.empty()) co_return added;
  [[maybe_unused]] const auto removed =
      co_await remove(trees.front().number, trees.back().number + 1);
  co_return added;
}

net::awaitable<Result<void>> FileServer::remove(std::uint32_t begin, std::uint32_t end) {
  server::RemoveTrees message;
  message.begin = begin;
  message.end = end;
  co_return co_await ask(message);
}

net::awaitable<Result<void>> FileServer::interrupt_locks() {
  const server::InterruptLocks message;
  co_return co_await ask(message);
}

template <typename M>
net::awaitable<Result<void>> FileServer::ask(M message) const {
  message.request = 1;
  std::vector<Packet> packets;
  packets.push_back({base::packet_of(message), {}});
  co_return co_await exchange(std::move(packets));
}

net::awaitable<Result<void>> FileServer::exchange(std::vector<Packet> packets) const {
  const auto all = std::make_shared<std::vector<Packet>>(std::move(packets));
  std::function<Result<void>()> work = [directory = directory_, all]() -> Result<void> {
    const auto socket = connect_in(directory, kFileServerSocket);
    if (!socket) return socket.error();
    RETURN_IF_ERROR(expect_greeting(socket->get()));
    for (const Packet& packet : *all) {
      const int fd = packet.fd.get();
      const std::span<const int> fds(&fd, packet.fd ? 1 : 0);
      RETURN_IF_ERROR(base::send_packet(socket->get(), packet.bytes, fds));
      RETURN_IF_ERROR(expect_done(socket->get()));
    }
    return {};
  };
  co_return co_await parts_.pool.run(std::move(work));
}

}  // namespace engine
