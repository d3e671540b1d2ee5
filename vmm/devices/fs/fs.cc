#include "vmm/devices/fs/fs.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <string>
#include <utility>

namespace devices {

namespace {

// virtio 1.2, 5.11.2
constexpr virtio::QueueIndex kUrgent = 0;
constexpr virtio::QueueIndex kOthers = 1;

struct [[gnu::packed]] Config {
  char tag[36] = {};
  std::uint32_t request_queues = 1;
};
static_assert(sizeof(Config) == 40);

/// What one turn of the loop takes at most, of requests and of replies.
constexpr int kTurn = 128;

base::Error broken(const char* what) {
  return {base::Code::kInvalidArgument, std::string("file system: ") + what};
}

std::size_t bytes_of(std::span<const iovec> parts) {
  std::size_t bytes = 0;
  for (const iovec& part : parts) bytes += part.iov_len;
  return bytes;
}

/// The driver waits for no reply to these.
bool has_reply(std::uint32_t opcode) {
  return opcode != FUSE_FORGET && opcode != FUSE_BATCH_FORGET;
}

}  // namespace

struct FsDevice::Request {
  explicit Request(std::size_t own_number) : number(own_number) {}

  const std::size_t number;
  virtio::Chain chain;    // readable: what the server does not have; writable: the reply's header
  virtio::Segments body;  // room for the rest of the reply
  virtio::QueueIndex queue = 0;
  fuse_in_header header{};      // as the server gets it
  std::size_t header_left = 0;  // bytes of it that the server does not have
  std::uint64_t unique = 0;     // the driver's
  bool in_use = false;
};

FsDevice::FsDevice(base::EventLoop& loop)
    : loop_(loop), receive_later_(loop, [this] { receive(); }) {}

FsDevice::~FsDevice() = default;

base::Result<void> FsDevice::attach(base::UniqueFd server) {
  if (server_.attached)
    return base::Error{base::Code::kConflict, "the machine has a file server already"};
  auto watch = loop_.watch(server.get(), EPOLLIN | EPOLLOUT | EPOLLET,
                           [this](std::uint32_t events) { on_server(events); });
  if (!watch) return annotate(std::move(watch), "file server");
  server_.attached = true;
  server_.fd = std::move(server);
  server_.watch = *std::move(watch);
  return {};
}

void FsDevice::read_config(std::uint32_t offset, std::span<std::byte> out) const {
  Config config;
  kTag.copy(config.tag, sizeof config.tag);
  virtio::copy_config(config, offset, out);
}

base::Result<void> FsDevice::activate(const virtio::Activation& activation) {
  if (activation.queues[kUrgent] == nullptr || activation.queues[kOthers] == nullptr)
    return broken("a queue is missing");
  queues_ = activation.queues;
  transport_ = activation.transport;
  return {};
}

void FsDevice::reset() {
  transport_ = nullptr;
  queues_ = {};
  receive_later_.cancel();
  const bool in_flight = free_.size() < requests_.size();
  requests_.clear();
  free_.clear();
  if (in_flight) disconnect();
}

void FsDevice::resume() {
  paused_ = false;
  if (transport_ == nullptr) return;
  receive_later_.schedule();
  go_on_sending();
}

// --- guest -> server

base::Result<virtio::Progress> FsDevice::on_kick(virtio::QueueIndex queue) {
  queues_[queue]->stop_kicks();
  for (int budget = kTurn; budget > 0; --budget) {
    // The rest is served when the server has taken all of this request.
    if (sending_ != kNobody) break;
    const auto taken = take(queue);
    if (!taken) return taken.error();
    if (*taken || queues_[queue]->resume_kicks()) continue;
    announce();
    return virtio::Progress::kDone;
  }
  announce();
  return sending_ == kNobody ? virtio::Progress::kMore : virtio::Progress::kDone;
}

/// Takes one request from the queue; false if there is none.
base::Result<bool> FsDevice::take(virtio::QueueIndex queue) {
  Request& request = free_request();
  const auto popped = queues_[queue]->pop(request.chain);
  if (!popped) return popped.error();
  if (!*popped) return false;
  free_.pop_back();
  request.in_use = true;
  request.queue = queue;
  RETURN_IF_ERROR(accept(request));
  if (!server_.fd) {
    fail(request, ENOTCONN);
  } else if (!send(request)) {
    sending_ = request.number;
  }
  return true;
}

/// One that is not in use, the last one of `free_`.
FsDevice::Request& FsDevice::free_request() {
  if (free_.empty()) {
    free_.push_back(requests_.size());
    requests_.push_back(std::make_unique<Request>(requests_.size()));
  }
  return *requests_[free_.back()];
}

/// Checks what the guest says of the request's length, since that is where the next one begins.
base::Result<void> FsDevice::accept(Request& request) {
  virtio::Chain& chain = request.chain;
  const std::size_t size = chain.readable.size();
  if (!chain.readable.read(request.header)) return broken("a request without a header");
  if (size > kMostRequest) return broken("a request that is too long");
  if (request.header.len != size) return broken("a request that is not as long as it says");
  request.header_left = sizeof request.header;
  request.unique = std::exchange(request.header.unique, request.number);
  request.body.clear();
  if (!has_reply(request.header.opcode)) return {};
  if (chain.writable.size() < sizeof(fuse_out_header))
    return broken("a request without room for its reply");
  chain.writable.split_tail(chain.writable.size() - sizeof(fuse_out_header), request.body);
  return {};
}

/// Sends what the server does not have of the request. False: the socket is full.
bool FsDevice::send(Request& request) {
  while (request.header_left + request.chain.readable.size() > 0) {
    const auto parts = unsent(request);
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = std::min<std::size_t>(parts.size(), IOV_MAX);
    const ssize_t count = ::sendmsg(server_.fd.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) return server_.writable = false;
    if (count < 0) {
      disconnect();
      return true;
    }
    const std::size_t of_header = std::min(static_cast<std::size_t>(count), request.header_left);
    request.header_left -= of_header;
    request.chain.readable.consume(static_cast<std::size_t>(count) - of_header);
  }
  if (!has_reply(request.header.opcode)) finish(request, 0);
  return true;
}

std::span<iovec> FsDevice::unsent(Request& request) {
  parts_.clear();
  if (request.header_left > 0) {
    auto* const end = reinterpret_cast<std::byte*>(&request.header + 1);
    parts_.push_back({end - request.header_left, request.header_left});
  }
  const auto rest = request.chain.readable.parts();
  parts_.insert(parts_.end(), rest.begin(), rest.end());
  return parts_;
}

/// Sends the rest of a request, and then what waited behind it.
void FsDevice::go_on_sending() {
  if (sending_ == kNobody || !server_.writable || !send(*requests_[sending_])) return;
  sending_ = kNobody;
  serve_queues();
}

void FsDevice::serve_queues() {
  for (const auto queue : {kUrgent, kOthers}) transport_->serve_again(queue);
}

// --- server -> guest

void FsDevice::on_server(std::uint32_t events) {
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) server_.readable = true;
  if ((events & (EPOLLHUP | EPOLLERR)) != 0) server_.hung_up = true;
  if ((events & EPOLLOUT) != 0) server_.writable = true;
  if (transport_ == nullptr || paused_) return;
  receive();
  go_on_sending();
  announce();
}

void FsDevice::receive() {
  if (transport_ == nullptr || paused_) return;
  for (int budget = kTurn; server_.fd && receive_step();)
    if (--budget == 0) {
      receive_later_.schedule();
      break;
    }
  announce();
}

/// False when nothing can be done until the server sends more.
bool FsDevice::receive_step() {
  if (reply_.request != kNobody) return continue_reply();
  return inbox_.size() < sizeof reply_.header ? fill_inbox() : begin_reply();
}

bool FsDevice::fill_inbox() {
  std::memmove(inbox_.bytes.data(), inbox_.bytes.data() + inbox_.begin, inbox_.size());
  inbox_.end -= std::exchange(inbox_.begin, 0);
  const iovec room{inbox_.bytes.data() + inbox_.end, inbox_.bytes.size() - inbox_.end};
  const std::size_t count = read_server({&room, 1});
  inbox_.end += count;
  return count > 0;
}

/// How many bytes were read. 0: there are none, or the connection has ended.
std::size_t FsDevice::read_server(std::span<const iovec> parts) {
  if (!server_.readable) return 0;
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(parts.data());
  message.msg_iovlen = std::min<std::size_t>(parts.size(), IOV_MAX);
  ssize_t count = 0;
  do {
    count = ::recvmsg(server_.fd.get(), &message, MSG_DONTWAIT);
  } while (count < 0 && errno == EINTR);
  // After less than was asked for, what comes is an event of its own; the end may be one already.
  if (!server_.hung_up && static_cast<std::size_t>(std::max<ssize_t>(count, 0)) < bytes_of(parts))
    server_.readable = false;
  if (count > 0) return static_cast<std::size_t>(count);
  if (count < 0 && errno == EAGAIN) {
    server_.readable = false;
    return 0;
  }
  disconnect();
  return 0;
}

bool FsDevice::begin_reply() {
  fuse_out_header& header = reply_.header;
  std::memcpy(&header, inbox_.bytes.data() + inbox_.begin, sizeof header);
  inbox_.begin += sizeof header;
  const std::uint64_t number = header.unique;
  const bool awaited = number < requests_.size() && requests_[number]->in_use && number != sending_;
  if (!awaited || header.len < sizeof header) {
    disconnect();
    return false;
  }
  Request& request = *requests_[number];
  reply_.request = number;
  reply_.left = header.len - sizeof header;
  header.unique = request.unique;
  if (reply_.left <= request.body.size()) {
    request.body.truncate(reply_.left);
  } else {
    request.body.clear();
    header.error = -EIO;
    header.len = sizeof header;
  }
  return true;
}

/// Moves bytes into the guest's memory; those for which there is no room are dropped.
bool FsDevice::continue_reply() {
  Request& request = *requests_[reply_.request];
  if (reply_.left == 0) {
    request.chain.writable.write(reply_.header);
    finish(request, reply_.header.len);
    reply_ = {};
    return true;
  }
  if (inbox_.size() == 0 && request.body.empty()) return fill_inbox();
  if (inbox_.size() == 0) {
    const std::size_t count = read_server(request.body.parts());
    if (count == 0) return false;
    request.body.consume(count);
    reply_.left -= count;
    return true;
  }
  const std::size_t count = std::min(inbox_.size(), reply_.left);
  request.body.copy_in(std::span(inbox_.bytes).subspan(inbox_.begin, count));
  inbox_.begin += count;
  reply_.left -= count;
  return true;
}

// --- both

void FsDevice::fail(Request& request, int error_number) {
  if (!has_reply(request.header.opcode)) return finish(request, 0);
  constexpr std::uint32_t kSize = sizeof(fuse_out_header);
  request.chain.writable.write(fuse_out_header{kSize, -error_number, request.unique});
  finish(request, kSize);
}

void FsDevice::finish(Request& request, std::uint32_t written) {
  queues_[request.queue]->complete(request.chain.head, written);
  request.in_use = false;
  free_.push_back(request.number);
}

/// Without the server, what it had not answered fails, and so does what comes.
void FsDevice::disconnect() {
  server_.watch.reset();
  server_.fd.reset();
  inbox_.begin = inbox_.end = 0;
  reply_ = {};
  sending_ = kNobody;
  for (const auto& request : requests_)
    if (request->in_use) fail(*request, ENOTCONN);
  if (transport_ != nullptr) serve_queues();
}

void FsDevice::announce() {
  for (virtio::Queue* const queue : queues_) queue->interrupt();
}

}  // namespace devices
