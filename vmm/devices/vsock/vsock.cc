#include "vmm/devices/vsock/vsock.h"

#include <algorithm>
#include <utility>

namespace devices {

namespace {

constexpr std::uint64_t kFeatureStream = 1u << 0;

constexpr virtio::QueueIndex kReceive = 0;
constexpr virtio::QueueIndex kTransmit = 1;

/// Resets that may wait for the guest to read them; more stop the transmit queue.
constexpr std::size_t kMaxResets = 64;
/// A packet that was taken needs no haste: the driver only frees its memory. Its interrupt waits
/// for this many (an eighth of the ring), or for the next packet to the guest, which shares the
/// line.
constexpr std::uint16_t kLazyCompletions = 32;
/// Packets, or bursts of data, given to the guest before other descriptors get their turn.
constexpr int kPumpTurns = 16;
constexpr std::uint16_t kMinBurst = 4;
constexpr std::uint16_t kMaxBurst = 64;
constexpr std::size_t kMaxParts = 1024;

base::Error broken(const char* what) {
  return {base::Code::kInvalidArgument, std::string("vsock: ") + what};
}

struct State {
  std::vector<VsockConnection::Saved> connections;
  std::vector<std::uint64_t> lost;  // keys of those that could not be saved
  bool transmit_stalled = false;
  std::uint32_t next_host_port = 0;
  static void fields(auto& self, auto&& visit) {
    visit(self.connections, self.lost, self.transmit_stalled, self.next_host_port);
  }
};

}  // namespace

VsockDevice::VsockDevice(base::EventLoop& loop, std::uint64_t guest_cid)
    : loop_(loop), guest_cid_(guest_cid), pump_later_(loop, [this] { pump(); }) {}

VsockDevice::~VsockDevice() = default;

// --- what the host asks for

base::Result<void> VsockDevice::open_stream(std::uint32_t guest_port, std::uint32_t tag,
                                            base::UniqueFd socket) {
  if (find_tag(tag) != nullptr)
    return base::Error{base::Code::kAlreadyExists, "a stream with this tag is open"};
  const auto host_port = free_host_port(guest_port);
  if (!host_port) return host_port.error();
  auto connection = std::make_unique<VsockConnection>(tag, *host_port, guest_port,
                                                      VsockConnection::State::kConnecting);
  RETURN_IF_ERROR(give_socket(*connection, std::move(socket)));
  connection->pending.request = true;
  list(add(std::move(connection)));
  pump_later_.schedule();
  return {};
}

base::Result<void> VsockDevice::adopt_stream(std::uint32_t tag, base::UniqueFd socket) {
  VsockConnection* const connection = find_tag(tag);
  if (connection == nullptr)
    return base::Error{base::Code::kNotFound, "no stream with this tag was saved"};
  if (connection->has_socket())
    return base::Error{base::Code::kConflict, "the stream has a socket already"};
  RETURN_IF_ERROR(give_socket(*connection, std::move(socket)));
  connection->flush();
  if (connection->credit_update_due()) {
    connection->pending.credit = true;
    list(*connection);
    pump_later_.schedule();
  }
  return {};
}

void VsockDevice::listen(std::uint32_t host_port, Connect connect) {
  listeners_[host_port] = std::move(connect);
}

std::vector<std::uint32_t> VsockDevice::saveable_tags() const {
  std::vector<std::uint32_t> tags;
  for (const auto& [key, connection] : connections_)
    if (connection->quiet()) tags.push_back(*connection->tag());
  std::ranges::sort(tags);
  return tags;
}

// --- life

std::uint64_t VsockDevice::offered_features() const { return kFeatureStream; }

void VsockDevice::read_config(std::uint32_t offset, std::span<std::byte> out) const {
  virtio::copy_config(guest_cid_, offset, out);
}

base::Result<void> VsockDevice::activate(const virtio::Activation& activation) {
  driver_.receive = activation.queues[kReceive];
  driver_.transmit = activation.queues[kTransmit];
  driver_.transport = activation.transport;
  if (driver_.receive == nullptr || driver_.transmit == nullptr)
    return broken("a queue is missing");
  pump_later_.schedule();
  return {};
}

void VsockDevice::reset() {
  driver_ = {};
  ready_.clear();
  resets_.clear();
  connections_.clear();
  draining_.clear();
}

base::Result<virtio::Progress> VsockDevice::on_kick(virtio::QueueIndex queue) {
  if (queue == kTransmit) return serve_transmit();
  if (queue == kReceive) {
    RETURN_IF_ERROR(pump_receive());
  }
  return virtio::Progress::kDone;
}

void VsockDevice::pause() {
  if (driver_.transmit != nullptr && !paused_) driver_.transmit->interrupt();
  paused_ = true;
}

void VsockDevice::resume() {
  paused_ = false;
  if (!ready_.empty() || !resets_.empty()) pump_later_.schedule();
  if (driver_.transmit_stalled && driver_.transport != nullptr)
    driver_.transport->serve_again(kTransmit);
}

void VsockDevice::save(wire::Encoder& out) const {
  State state;
  state.next_host_port = next_host_port_;
  for (const auto& [key, connection] : connections_) {
    if (connection->quiet()) {
      state.connections.push_back(connection->saved());
    } else {
      state.lost.push_back(key);
    }
  }
  for (const VsockHeader& reset : resets_)
    if (reset.source_cid == kHostCid)
      state.lost.push_back(VsockConnection::key(reset.source_port, reset.destination_port));
  state.transmit_stalled = driver_.transmit_stalled;
  out.put(state);
}

base::Result<void> VsockDevice::restore(wire::Decoder& in) {
  State state;
  in.get(state);
  const auto bad = [] { return base::Error{base::Code::kDataLoss, "vsock state is malformed"}; };
  if (!in.ok() || state.connections.size() + state.lost.size() > kMaxConnections + kMaxResets)
    return bad();
  for (const VsockConnection::Saved& saved : state.connections) {
    if (find_tag(saved.tag) != nullptr) return bad();
    const auto added =
        connections_.try_emplace(VsockConnection::key(saved.host_port, saved.guest_port), nullptr);
    if (!added.second) return bad();
    added.first->second = std::make_unique<VsockConnection>(saved);
  }
  for (const std::uint64_t key : state.lost)
    queue_reset(static_cast<std::uint32_t>(key >> 32), static_cast<std::uint32_t>(key));
  driver_.transmit_stalled = state.transmit_stalled;
  next_host_port_ = std::max(kFirstHostPort, state.next_host_port);
  return {};
}

// --- packets from the guest

base::Result<virtio::Progress> VsockDevice::serve_transmit() {
  auto progress = virtio::Progress::kMore;
  driver_.transmit->stop_kicks();
  for (int budget = 256; budget > 0; --budget) {
    driver_.transmit_stalled = resets_.size() >= kMaxResets;
    if (driver_.transmit_stalled) {
      progress = virtio::Progress::kDone;
      break;
    }
    const auto popped = driver_.transmit->pop(scratch_.chain);
    if (!popped) return popped.error();
    if (!*popped) {
      if (driver_.transmit->resume_kicks()) continue;
      progress = virtio::Progress::kDone;
      break;
    }
    RETURN_IF_ERROR(handle_packet(scratch_.chain.readable));
    driver_.transmit->complete(scratch_.chain.head, 0);
  }
  if (driver_.transmit->unannounced() >= kLazyCompletions) driver_.transmit->interrupt();
  RETURN_IF_ERROR(pump_receive());
  return progress;
}

base::Result<void> VsockDevice::handle_packet(virtio::Segments& packet) {
  VsockHeader header;
  if (!packet.read(header)) return broken("a packet without a header");
  if (header.source_cid != guest_cid_) return {};
  if (header.destination_cid != kHostCid) {
    refuse_foreign(header);
    return {};
  }
  const auto found =
      connections_.find(VsockConnection::key(header.destination_port, header.source_port));
  if (found == connections_.end()) {
    handle_unknown(header);
    return {};
  }
  VsockConnection& connection = *found->second;
  if (header.type != kVsockStream || header.length > packet.size()) {
    reset_connection(connection);
    return {};
  }
  packet.truncate(header.length);
  connection.counters.guest_buffer = header.buffer_size;
  connection.counters.guest_forwarded = header.forwarded_bytes;
  handle(connection, header, packet);
  return {};
}

/// Answers a packet for another CID than the host's: nobody else is there. A guest without a
/// loopback transport also sends here what is for itself (its own CID, CID 1); the answer must
/// reach nothing in it but the socket that asked.
void VsockDevice::refuse_foreign(const VsockHeader& header) {
  if (header.operation == kVsockReset) return;
  queue_reset(header.destination_port, header.source_port);
  resets_.back().source_cid = header.destination_cid;
}

/// Handles a packet that belongs to no connection: a listener may take a request; anything else is
/// answered with a reset.
void VsockDevice::handle_unknown(const VsockHeader& header) {
  const std::uint32_t host_port = header.destination_port;
  const std::uint32_t guest_port = header.source_port;
  if (header.operation == kVsockReset) return;
  const auto listener = listeners_.find(host_port);
  if (header.operation == kVsockRequest && header.type == kVsockStream &&
      listener != listeners_.end() && connection_count() < kMaxConnections) {
    auto socket = listener->second();
    auto connection = std::make_unique<VsockConnection>(std::nullopt, host_port, guest_port,
                                                        VsockConnection::State::kOpen);
    if (socket && give_socket(*connection, *std::move(socket))) {
      connection->counters.guest_buffer = header.buffer_size;
      connection->counters.guest_forwarded = header.forwarded_bytes;
      connection->pending.response = true;
      list(add(std::move(connection)));
      return;
    }
  }
  queue_reset(host_port, guest_port);
}

void VsockDevice::handle(VsockConnection& connection, const VsockHeader& header,
                         virtio::Segments& data) {
  switch (header.operation) {
    case kVsockResponse:
      if (connection.state != VsockConnection::State::kConnecting || connection.pending.request)
        break;
      connection.state = VsockConnection::State::kOpen;
      list(connection);
      return;
    case kVsockReset:
      detach(connection);
      return;
    case kVsockShutdown:
      handle_shutdown(connection, header.flags);
      return;
    case kVsockData:
      if (connection.state != VsockConnection::State::kOpen) break;
      handle_data(connection, data);
      return;
    case kVsockCreditRequest:
      connection.pending.credit = true;
      [[fallthrough]];
    case kVsockCreditUpdate:
      list(connection);
      return;
    default:
      break;
  }
  reset_connection(connection);
}

void VsockDevice::handle_shutdown(VsockConnection& connection, std::uint32_t flags) {
  connection.on_guest_shutdown(flags);
  if (connection.guest_shutdown == (kVsockShutdownReceive | kVsockShutdownSend)) {
    // The guest has closed it: a reset ends the connection in order (5.10.6.5).
    reset_connection(connection);
    return;
  }
  list(connection);
}

void VsockDevice::handle_data(VsockConnection& connection, virtio::Segments& data) {
  if ((connection.guest_shutdown & kVsockShutdownSend) != 0 || !connection.deliver(data)) {
    reset_connection(connection);
    return;
  }
  if (connection.credit_update_due()) connection.pending.credit = true;
  if (connection.pending.credit ||
      connection.pending.shutdown_wanted != connection.pending.shutdown_sent)
    list(connection);
}

// --- packets to the guest

void VsockDevice::list(VsockConnection& connection) {
  if (std::exchange(connection.pending.listed, true)) return;
  ready_.push_back(&connection);
}

/// Calls pump_receive() and gives its Error to the transport, so it is the last thing a handler
/// does.
void VsockDevice::pump() {
  if (auto pumped = pump_receive(); !pumped) driver_.transport->fail(std::move(pumped).error());
}

base::Result<void> VsockDevice::pump_receive() {
  if (driver_.receive == nullptr || paused_) return {};
  for (int turns = kPumpTurns; turns > 0; --turns) {
    if (resets_.empty() && ready_.empty()) break;
    auto sent = resets_.empty() ? serve_ready() : send_reset();
    if (!sent) return std::move(sent).error();
    if (*sent == Sent::kNoBuffer) break;
    if (turns == 1) pump_later_.schedule();
  }
  driver_.receive->interrupt();
  return {};
}

base::Result<VsockDevice::Sent> VsockDevice::send_reset() {
  auto sent = send_header([this] { return resets_.front(); });
  if (!sent || *sent != Sent::kPacket) return sent;
  resets_.pop_front();
  if (driver_.transmit_stalled && resets_.size() < kMaxResets / 2)
    driver_.transport->serve_again(kTransmit);
  return sent;
}

/// Sends one packet, or one burst of data, of the first connection in the list.
base::Result<VsockDevice::Sent> VsockDevice::serve_ready() {
  VsockConnection& connection = *ready_.front();
  auto sent = send_next(connection);
  if (!sent || *sent == Sent::kNoBuffer) return sent;
  ready_.pop_front();
  connection.pending.listed = false;
  if (*sent == Sent::kPacket) list(connection);
  return sent;
}

base::Result<VsockDevice::Sent> VsockDevice::send_next(VsockConnection& connection) {
  if (connection.pending.request) {
    auto sent = send_packet(connection, kVsockRequest);
    if (sent && *sent == Sent::kPacket) connection.pending.request = false;
    return sent;
  }
  if (connection.pending.response) {
    auto sent = send_packet(connection, kVsockResponse);
    if (sent && *sent == Sent::kPacket) connection.pending.response = false;
    return sent;
  }
  if (connection.state != VsockConnection::State::kOpen) return Sent::kNothing;
  if (connection.can_read() && connection.guest_credit() > 0) {
    auto sent = send_data(connection);
    if (!sent || *sent != Sent::kNothing) return sent;
  }
  if (connection.pending.shutdown_wanted != connection.pending.shutdown_sent)
    return send_shutdown(connection);
  if (connection.pending.credit) return send_packet(connection, kVsockCreditUpdate);
  return Sent::kNothing;
}

base::Result<VsockDevice::Sent> VsockDevice::send_shutdown(VsockConnection& connection) {
  const std::uint32_t flags = connection.pending.shutdown_wanted;
  auto sent = send_packet(connection, kVsockShutdown, flags);
  if (!sent || *sent != Sent::kPacket) return sent;
  connection.pending.shutdown_sent = flags;
  // Nothing can pass any more; the connection stays until the guest closes its end.
  if (flags == (kVsockShutdownReceive | kVsockShutdownSend)) connection.close_socket();
  return sent;
}

VsockHeader VsockDevice::header_for(VsockConnection& connection, std::uint16_t operation) const {
  connection.counters.announced_forwarded = connection.counters.forwarded;
  connection.pending.credit = false;
  return {.source_cid = kHostCid,
          .destination_cid = guest_cid_,
          .source_port = connection.host_port(),
          .destination_port = connection.guest_port(),
          .operation = operation,
          .buffer_size = VsockConnection::kBufferBytes,
          .forwarded_bytes = connection.counters.forwarded};
}

/// The next receive buffer of the guest; if there is none, asks for a kick when there is.
base::Result<bool> VsockDevice::pop_buffer(virtio::Chain& chain) {
  while (true) {
    auto popped = driver_.receive->pop(chain);
    if (!popped || *popped || !driver_.receive->resume_kicks()) return popped;
  }
}

base::Result<VsockDevice::Sent> VsockDevice::send_packet(VsockConnection& connection,
                                                         std::uint16_t operation,
                                                         std::uint32_t flags) {
  return send_header([&] {
    VsockHeader header = header_for(connection, operation);
    header.flags = flags;
    return header;
  });
}

template <typename MakeHeader>
base::Result<VsockDevice::Sent> VsockDevice::send_header(MakeHeader make_header) {
  const auto popped = pop_buffer(scratch_.chain);
  if (!popped) return popped.error();
  if (!*popped) return Sent::kNoBuffer;
  if (!scratch_.chain.writable.write(make_header())) return broken("a receive buffer without room");
  driver_.receive->complete(scratch_.chain.head, sizeof(VsockHeader));
  return Sent::kPacket;
}

/// Reads from the socket directly into as many receive buffers as it fills.
base::Result<VsockDevice::Sent> VsockDevice::send_data(VsockConnection& connection) {
  const auto gathered = gather(connection.burst, connection.guest_credit());
  if (!gathered) return gathered.error();
  if (gathered->chains == 0) return Sent::kNoBuffer;
  const std::size_t size = connection.read(scratch_.parts, gathered->bytes);
  const std::uint16_t filled = complete_data(connection, size);
  driver_.receive->undo_pop(static_cast<std::uint16_t>(gathered->chains - filled));
  if (size == 0) return Sent::kNothing;
  driver_.receive->interrupt();
  if (size == gathered->bytes) {
    connection.burst = std::min<std::uint16_t>(connection.burst * 2, kMaxBurst);
  } else if (filled < gathered->chains / 4) {
    connection.burst = std::max<std::uint16_t>(connection.burst / 2, kMinBurst);
  }
  return Sent::kPacket;
}

/// Takes receive buffers for at most `credit` bytes of data and lists their room behind the header
/// in scratch_.parts.
base::Result<VsockDevice::Gathered> VsockDevice::gather(std::uint16_t chains, std::size_t credit) {
  scratch_.buffers.resize(kMaxBurst);
  scratch_.parts.clear();
  Gathered all;
  while (all.chains < chains && all.bytes < credit) {
    virtio::Chain& chain = scratch_.buffers[all.chains];
    const auto popped = all.chains == 0 ? pop_buffer(chain) : driver_.receive->pop(chain);
    if (!popped) return popped.error();
    if (!*popped) break;
    if (chain.writable.size() <= sizeof(VsockHeader))
      return broken("a receive buffer without room");
    if (scratch_.parts.size() + chain.writable.parts().size() > kMaxParts) {
      driver_.receive->undo_pop(1);
      break;
    }
    ++all.chains;
    std::size_t skip = sizeof(VsockHeader);
    for (const iovec& part : chain.writable.parts()) {
      const std::size_t skipped = std::min(skip, part.iov_len);
      const std::size_t room = std::min(part.iov_len - skipped, credit - all.bytes);
      skip -= skipped;
      if (room > 0)
        scratch_.parts.push_back({static_cast<std::byte*>(part.iov_base) + skipped, room});
      all.bytes += room;
    }
  }
  return all;
}

/// Puts headers before the `size` bytes that were read into the gathered buffers; returns how many
/// buffers that used.
std::uint16_t VsockDevice::complete_data(VsockConnection& connection, std::size_t size) {
  std::uint16_t filled = 0;
  while (size > 0) {
    virtio::Chain& chain = scratch_.buffers[filled++];
    const std::size_t room = chain.writable.size() - sizeof(VsockHeader);
    VsockHeader header = header_for(connection, kVsockData);
    header.length = static_cast<std::uint32_t>(std::min(room, size));
    chain.writable.write(header);
    driver_.receive->complete(chain.head,
                              static_cast<std::uint32_t>(sizeof header) + header.length);
    size -= header.length;
  }
  return filled;
}

// --- connections

base::Result<std::uint32_t> VsockDevice::free_host_port(std::uint32_t guest_port) {
  if (connection_count() >= kMaxConnections)
    return base::Error{base::Code::kResourceExhausted, "too many vsock streams"};
  while (true) {  // ends: fewer ports are taken than there are
    const std::uint32_t port = next_host_port_++;
    if (next_host_port_ < kFirstHostPort) next_host_port_ = kFirstHostPort;
    if (!connections_.contains(VsockConnection::key(port, guest_port))) return port;
  }
}

base::Result<void> VsockDevice::give_socket(VsockConnection& connection, base::UniqueFd socket) {
  return connection.set_socket(loop_, std::move(socket), [this, &connection](std::uint32_t events) {
    on_socket(connection, events);
  });
}

VsockConnection& VsockDevice::add(std::unique_ptr<VsockConnection> connection) {
  VsockConnection& added = *connection;
  connections_[added.key()] = std::move(connection);
  return added;
}

VsockConnection* VsockDevice::find_tag(std::uint32_t tag) const {
  for (const auto& [key, connection] : connections_)
    if (connection->tag() == tag) return connection.get();
  return nullptr;
}

void VsockDevice::on_socket(VsockConnection& connection, std::uint32_t events) {
  connection.note_events(events);
  connection.flush();
  if (connection.state == VsockConnection::State::kDraining) {
    if (!connection.has_undelivered()) drop_draining(connection);
    return;
  }
  if (connection.credit_update_due()) connection.pending.credit = true;
  if (!connection.can_read() && !connection.pending.credit &&
      connection.pending.shutdown_wanted == connection.pending.shutdown_sent)
    return;
  list(connection);
  pump_later_.schedule();  // after the other sockets of this round: one batch for the guest
}

void VsockDevice::queue_reset(std::uint32_t host_port, std::uint32_t guest_port) {
  resets_.push_back({.source_cid = kHostCid,
                     .destination_cid = guest_cid_,
                     .source_port = host_port,
                     .destination_port = guest_port,
                     .operation = kVsockReset});
}

void VsockDevice::reset_connection(VsockConnection& connection) {
  queue_reset(connection.host_port(), connection.guest_port());
  detach(connection);
}

/// Ends a connection whose guest's side is gone. What the guest had sent still goes to the socket.
void VsockDevice::detach(VsockConnection& connection) {
  if (connection.pending.listed) std::erase(ready_, &connection);
  auto node = connections_.extract(connection.key());
  if (!connection.has_socket() || !connection.has_undelivered()) return;
  connection.state = VsockConnection::State::kDraining;
  connection.on_guest_shutdown(kVsockShutdownReceive | kVsockShutdownSend);
  draining_.push_back(std::move(node.mapped()));
}

void VsockDevice::drop_draining(const VsockConnection& connection) {
  std::erase_if(draining_, [&](const auto& other) { return other.get() == &connection; });
}

}  // namespace devices
