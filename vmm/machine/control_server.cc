#include "vmm/machine/control_server.h"

#include <fcntl.h>
#include <sys/socket.h>

#include "vmm/devices/block/block.h"
#include "vmm/launch/file_server.h"

namespace machine {
namespace {

static_assert(devices::FsDevice::kMostRequest == launch::file_server::kMostRequest);

base::Error wrong_descriptors() {
  return {base::Code::kInvalidArgument, "the message came with the wrong number of descriptors"};
}

}  // namespace

base::Result<std::unique_ptr<ControlServer>> ControlServer::create(Settings settings) {
  const int listener = settings.listener.get();
  if (::fcntl(listener, F_SETFL, O_NONBLOCK) != 0) return base::errno_error("control socket");
  std::unique_ptr<ControlServer> server(new ControlServer(std::move(settings)));
  ControlServer* const self = server.get();
  auto watch = self->settings_.loop.watch(listener, EPOLLIN, [self](auto) { self->on_connect(); });
  if (!watch) return watch.error();
  self->listening_ = *std::move(watch);
  return server;
}

void ControlServer::on_connect() {
  base::UniqueFd fd(
      ::accept4(settings_.listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!fd) return;
  drop_connection();
  auto watch =
      settings_.loop.watch(fd.get(), EPOLLIN, [this](std::uint32_t events) { on_packet(events); });
  if (!watch) return;
  connection_ = std::move(fd);
  ++connections_;
  watch_ = *std::move(watch);
  launch::Status status;
  status.running = machine_ != nullptr && machine_->running();
  if (machine_ != nullptr) status.guest_faults = machine_->devices().fault_count();
  send(status);
}

void ControlServer::drop_connection() {
  watch_.reset();
  connection_.reset();
}

void ControlServer::on_packet(std::uint32_t /*events*/) {
  // Takes all that waits: a clone's whole set-up arrives at once.
  while (connection_ && !finished_ && receive_one()) {
  }
}

bool ControlServer::receive_one() {
  auto packet =
      base::receive_packet(connection_.get(), launch::kMaxPacket, launch::kMaxDescriptors);
  if (!packet) {
    if (packet.error().code != base::Code::kUnavailable) drop_connection();
    return false;
  }
  if (packet->bytes.empty()) {
    drop_connection();
    return false;
  }
  const auto frame = base::open_packet(packet->bytes);
  if (!frame || !dispatch(*frame, std::move(packet->fds))) {
    drop_connection();
    return false;
  }
  return true;
}

/// An error means that the packet makes no sense; what could not be done is answered with Failed.
base::Result<void> ControlServer::dispatch(const wire::RawFrame& frame,
                                           std::vector<base::UniqueFd> fds) {
  switch (static_cast<launch::MessageType>(frame.type)) {
    case launch::MessageType::kBootMachine:
      return answer<launch::BootMachine>(frame, std::move(fds));
    case launch::MessageType::kRestoreMachine:
      return answer<launch::RestoreMachine>(frame, std::move(fds));
    case launch::MessageType::kAttachLayers:
      return answer<launch::AttachLayers>(frame, std::move(fds));
    case launch::MessageType::kAttachDisk:
      return answer<launch::AttachDisk>(frame, std::move(fds));
    case launch::MessageType::kDetachLayers:
      return detach<launch::DetachLayers>(frame, fds);
    case launch::MessageType::kDetachDisk:
      return detach<launch::DetachDisk>(frame, fds);
    case launch::MessageType::kAttachNetwork:
      return answer<launch::AttachNetwork>(frame, std::move(fds));
    case launch::MessageType::kAttachFileServer:
      return answer<launch::AttachFileServer>(frame, std::move(fds));
    case launch::MessageType::kDetachNetwork:
      return answer<launch::DetachNetwork>(frame, std::move(fds));
    case launch::MessageType::kOpenStream:
      return answer<launch::OpenStream>(frame, std::move(fds));
    case launch::MessageType::kAdoptStream:
      return answer<launch::AdoptStream>(frame, std::move(fds));
    case launch::MessageType::kRun:
      return answer<launch::Run>(frame, std::move(fds));
    case launch::MessageType::kSaveTemplate:
      return save_template(frame, std::move(fds));
    case launch::MessageType::kStop: {
      if (const auto stop = wire::decode<launch::Stop>(frame.payload); !stop) return stop.error();
      launch::Stopped stopped;
      stopped.message = "stopped by the host";
      if (machine_ != nullptr) stopped.console_tail = machine_->console_tail();
      finish(stopped);
      return {};
    }
    default:
      return base::Error{base::Code::kDataLoss, "a control message of unknown type"};
  }
}

template <typename M>
base::Result<void> ControlServer::answer(const wire::RawFrame& frame,
                                         std::vector<base::UniqueFd> fds) {
  const auto message = wire::decode<M>(frame.payload);
  if (!message) return message.error();
  if (const auto done = handle(*message, fds); !done)
    send_failure(message->request, done.error());
  else
    send(launch::Done{message->request});
  return {};
}

base::Result<Machine*> ControlServer::machine() {
  if (machine_ == nullptr)
    return base::Error{base::Code::kConflict,
                       "there is no machine: BootMachine or RestoreMachine comes first"};
  return machine_.get();
}

base::Result<Machine*> ControlServer::machine_in_set_up() {
  const auto target = machine();
  if (target && (*target)->started())
    return base::Error{base::Code::kConflict, "the machine has been started already"};
  return target;
}

base::Result<void> ControlServer::check_can_build(const std::vector<base::UniqueFd>& fds) const {
  if (fds.size() != 2) return wrong_descriptors();
  if (machine_) return base::Error{base::Code::kConflict, "there is a machine already"};
  return {};
}

Machine::Settings ControlServer::machine_settings() {
  return {.loop = settings_.loop,
          .restrictions = restrictions(),
          .on_end = [this](launch::Stopped stopped) { finish(stopped); },
          .build = settings_.build};
}

/// Makes the device thread's restriction close /dev/kvm, too. The machine's own descriptors stay.
ThreadRestrictions ControlServer::restrictions() {
  const auto without_kvm = [this](std::function<base::Result<void>()> restrict) {
    return [this, restrict = std::move(restrict)] {
      system_.reset();
      return restrict ? restrict() : base::Result<void>();
    };
  };
  ThreadRestrictions all = settings_.restrictions;
  all.device_of_clone = without_kvm(std::move(all.device_of_clone));
  all.device_of_template = without_kvm(std::move(all.device_of_template));
  return all;
}

base::Result<void> ControlServer::handle(const launch::BootMachine& message,
                                         std::vector<base::UniqueFd>& fds) {
  RETURN_IF_ERROR(check_can_build(fds));
  auto machine = Machine::boot(*system_, machine_settings(), message.shape, fds[0].get(),
                               fds[1].get(), message.command_line);
  if (!machine) return machine.error();
  machine_ = *std::move(machine);
  return {};
}

base::Result<void> ControlServer::handle(const launch::RestoreMachine& message,
                                         std::vector<base::UniqueFd>& fds) {
  RETURN_IF_ERROR(check_can_build(fds));
  auto machine =
      Machine::restore(*system_, machine_settings(), message.shape, fds[0].get(), fds[1].get());
  if (!machine) return machine.error();
  machine_ = *std::move(machine);
  return {};
}

base::Result<void> ControlServer::handle(const launch::AttachLayers& message,
                                         std::vector<base::UniqueFd>& fds) {
  if (fds.size() != message.extents.size()) return wrong_descriptors();
  const auto target = machine();
  if (!target) return target.error();
  std::vector<LayersWindow::Extent> shown;
  std::vector<devices::FileExtent> on_disk;
  for (std::size_t i = 0; i < fds.size(); ++i) {
    const auto& extent = message.extents[i];
    if (extent.in_window)
      shown.push_back({extent.offset, extent.length, fds[i].get()});
    else
      on_disk.push_back({extent.offset, extent.length, std::move(fds[i])});
  }
  if (!shown.empty()) {
    const auto in_set_up = machine_in_set_up();
    if (!in_set_up) return in_set_up.error();
    RETURN_IF_ERROR((*in_set_up)->show_layers(shown));
  }
  if (on_disk.empty()) return {};
  return (*target)->devices().layers().attach(std::move(on_disk));
}

base::Result<void> ControlServer::handle(const launch::AttachDisk& message,
                                         std::vector<base::UniqueFd>& fds) {
  if (fds.size() != message.extents.size()) return wrong_descriptors();
  const auto target = machine();
  if (!target) return target.error();
  const auto disk = (*target)->devices().disk(message.slot);
  if (!disk) return disk.error();
  std::vector<devices::FileExtent> extents;
  for (std::size_t i = 0; i < fds.size(); ++i)
    extents.push_back({message.extents[i].offset, message.extents[i].length, std::move(fds[i])});
  return (*disk)->attach(std::move(extents));
}

base::Result<devices::BlockDevice*> ControlServer::disk_of(const launch::DetachLayers&) {
  const auto target = machine();
  if (!target) return target.error();
  return &(*target)->devices().layers();
}

base::Result<devices::BlockDevice*> ControlServer::disk_of(const launch::DetachDisk& message) {
  const auto target = machine();
  if (!target) return target.error();
  return (*target)->devices().disk(message.slot);
}

/// Answers at once, or when the guest's requests that use the files are done.
template <typename M>
base::Result<void> ControlServer::detach(const wire::RawFrame& frame,
                                         const std::vector<base::UniqueFd>& fds) {
  const auto message = wire::decode<M>(frame.payload);
  if (!message) return message.error();
  const auto disk = fds.empty() ? disk_of(*message) : wrong_descriptors();
  if (!disk) {
    send_failure(message->request, disk.error());
    return {};
  }
  (*disk)->detach(message->begin, message->end,
                  [this, request = message->request, asked_by = connections_] {
                    if (asked_by == connections_) send(launch::Done{request});
                  });
  return {};
}

base::Result<void> ControlServer::handle(const launch::AttachNetwork& message,
                                         std::vector<base::UniqueFd>& fds) {
  if (fds.size() != 1) return wrong_descriptors();
  const auto target = machine();
  if (!target) return target.error();
  return (*target)->attach_network(message.slot, std::move(fds[0]), message.mac);
}

base::Result<void> ControlServer::handle(const launch::AttachFileServer& /*message*/,
                                         std::vector<base::UniqueFd>& fds) {
  if (fds.size() != 1) return wrong_descriptors();
  const auto target = machine();
  if (!target) return target.error();
  return (*target)->devices().shares().attach(std::move(fds[0]));
}

base::Result<void> ControlServer::handle(const launch::DetachNetwork& message,
                                         std::vector<base::UniqueFd>& fds) {
  if (!fds.empty()) return wrong_descriptors();
  const auto target = machine();
  if (!target) return target.error();
  const auto card = (*target)->devices().network_card(message.slot);
  if (!card) return card.error();
  (*card)->detach();
  return {};
}

base::Result<void> ControlServer::handle(const launch::OpenStream& message,
                                         std::vector<base::UniqueFd>& fds) {
  if (fds.size() != 1) return wrong_descriptors();
  const auto target = machine();
  if (!target) return target.error();
  return (*target)->devices().vsock().open_stream(message.guest_port, message.tag,
                                                  std::move(fds[0]));
}

base::Result<void> ControlServer::handle(const launch::AdoptStream& message,
                                         std::vector<base::UniqueFd>& fds) {
  if (fds.size() != 1) return wrong_descriptors();
  const auto target = machine();
  if (!target) return target.error();
  return (*target)->devices().vsock().adopt_stream(message.tag, std::move(fds[0]));
}

base::Result<void> ControlServer::handle(const launch::Run& /*message*/,
                                         std::vector<base::UniqueFd>& fds) {
  if (!fds.empty()) return wrong_descriptors();
  const auto target = machine();
  if (!target) return target.error();
  return (*target)->run();
}

base::Result<void> ControlServer::save_template(const wire::RawFrame& frame,
                                                std::vector<base::UniqueFd> fds) {
  const auto message = wire::decode<launch::SaveTemplate>(frame.payload);
  if (!message) return message.error();
  const std::uint32_t request = message->request;
  const auto target = machine();
  if (!target || fds.size() != 2) {
    send_failure(request, target ? wrong_descriptors() : target.error());
    return {};
  }
  const auto begun = (*target)->save_template(
      std::move(fds[0]), std::move(fds[1]),
      [this, request, asked_by = connections_](base::Result<Machine::Saved> saved) {
        if (asked_by != connections_) return;
        if (!saved) return send_failure(request, saved.error());
        send(launch::Saved{request, saved->resident_bytes, std::move(saved->streams)});
      });
  if (!begun) send_failure(request, begun.error());
  return {};
}

template <typename M>
void ControlServer::send(const M& message) {
  if (!connection_) return;
  // A daemon that does not read its answers loses the connection, and may come back.
  if (const auto sent = base::send_packet(connection_.get(), base::packet_of(message)); !sent)
    drop_connection();
}

void ControlServer::send_failure(std::uint32_t request, const base::Error& error) {
  send(launch::Failed{request, static_cast<std::uint8_t>(error.code), error.message});
}

void ControlServer::finish(const launch::Stopped& stopped) {
  if (std::exchange(finished_, true)) return;
  if (settings_.result) {
    const wire::Bytes packet = base::packet_of(stopped);
    // Nobody is left to tell if this fails; the exit itself is seen by whoever started us.
    [[maybe_unused]] const auto written =
        ::pwrite(settings_.result.get(), packet.data(), packet.size(), 0);
  }
  send(stopped);
  settings_.loop.stop();
}

}  // namespace machine
