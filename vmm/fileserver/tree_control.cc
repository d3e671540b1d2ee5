#include "vmm/fileserver/tree_control.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <utility>

namespace fileserver {
namespace {

namespace protocol = launch::file_server;

base::Error wrong_descriptors() {
  return {base::Code::kInvalidArgument, "the message came with the wrong number of descriptors"};
}

}  // namespace

base::Result<std::unique_ptr<TreeControl>> TreeControl::create(Settings settings) {
  const int listener = settings.listener.get();
  if (::fcntl(listener, F_SETFL, O_NONBLOCK) != 0) return base::errno_error("control socket");
  std::unique_ptr<TreeControl> control(new TreeControl(std::move(settings)));
  TreeControl* const self = control.get();
  auto watch = self->settings_.loop.watch(listener, EPOLLIN, [self](auto) { self->on_connect(); });
  if (!watch) return watch.error();
  self->listening_ = *std::move(watch);
  return control;
}

void TreeControl::on_connect() {
  base::UniqueFd fd(
      ::accept4(settings_.listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!fd) return;
  drop_connection();
  auto watch = settings_.loop.watch(fd.get(), EPOLLIN, [this](auto) { on_packet(); });
  if (!watch) return;
  connection_ = std::move(fd);
  watch_ = *std::move(watch);
  send(protocol::Status{});
}

void TreeControl::drop_connection() {
  watch_.reset();
  connection_.reset();
}

void TreeControl::on_packet() {
  while (connection_ && receive_one()) {
  }
}

bool TreeControl::receive_one() {
  auto packet =
      base::receive_packet(connection_.get(), protocol::kMaxPacket, protocol::kMaxDescriptors);
  if (!packet && packet.error().code == base::Code::kUnavailable) return false;
  if (!packet || packet->bytes.empty()) {
    drop_connection();
    return false;
  }
  const auto frame = base::open_packet(packet->bytes);
  if (frame && dispatch(*frame, std::move(packet->fds))) return true;
  drop_connection();
  return false;
}

/// An error means that the packet makes no sense; what could not be done is answered with Failed.
base::Result<void> TreeControl::dispatch(const wire::RawFrame& frame, Descriptors fds) {
  switch (static_cast<protocol::MessageType>(frame.type)) {
    case protocol::MessageType::kAddTree:
      return answer<protocol::AddTree>(frame, std::move(fds));
    case protocol::MessageType::kRemoveTrees:
      return answer<protocol::RemoveTrees>(frame, std::move(fds));
    case protocol::MessageType::kInterruptLocks:
      return answer<protocol::InterruptLocks>(frame, std::move(fds));
    default:
      return base::Error{base::Code::kDataLoss, "a control message of unknown type"};
  }
}

template <typename M>
base::Result<void> TreeControl::answer(const wire::RawFrame& frame, Descriptors fds) {
  const auto message = wire::decode<M>(frame.payload);
  if (!message) return message.error();
  if (const auto done = handle(*message, fds); !done)
    send(protocol::Failed{message->request, static_cast<std::uint8_t>(done.error().code),
                          done.error().message});
  else
    send(protocol::Done{message->request});
  return {};
}

base::Result<void> TreeControl::handle(const protocol::AddTree& message, Descriptors& fds) {
  if (fds.size() != 1) return wrong_descriptors();
  return settings_.files.add_tree({message.number, message.read_only, message.caching},
                                  std::move(fds[0]));
}

base::Result<void> TreeControl::handle(const protocol::RemoveTrees& message, Descriptors& fds) {
  if (!fds.empty()) return wrong_descriptors();
  settings_.files.remove_trees(message.begin, message.end);
  return {};
}

base::Result<void> TreeControl::handle(const protocol::InterruptLocks& /*message*/,
                                       Descriptors& fds) {
  if (!fds.empty()) return wrong_descriptors();
  settings_.files.waits().interrupt();
  return {};
}

template <typename M>
void TreeControl::send(const M& message) {
  if (!connection_) return;
  // A daemon that does not read its answers loses the connection, and may come back.
  if (!base::send_packet(connection_.get(), base::packet_of(message))) drop_connection();
}

}  // namespace fileserver
