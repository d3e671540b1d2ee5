#include "api/machines/clone_machine.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include "api/machines/layer_places.h"
#include "vmm/base/seqpacket.h"

namespace engine {

namespace {

using base::Code;
using base::Error;
using base::Result;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr std::string_view kProcessPhase = "process";

Result<base::UniqueFd> open_file(const std::filesystem::path& path, int flags) {
  base::UniqueFd file(::open(path.c_str(), flags | O_CLOEXEC));
  if (!file) return base::errno_error("open " + path.string());
  return file;
}

Result<base::UniqueFd> duplicate(const base::UniqueFd& fd) {
  base::UniqueFd copy(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 3));
  if (!copy) return base::errno_error("duplicate a descriptor");
  return copy;
}

std::vector<base::UniqueFd> descriptors(base::UniqueFd fd) {
  std::vector<base::UniqueFd> fds;
  fds.push_back(std::move(fd));
  return fds;
}

protocol::SetIdentity identity_of(const MachineSpec& spec) {
  protocol::SetIdentity identity;
  identity.machine_id = spec.machine_id;
  identity.secret = spec.secret;
  [[maybe_unused]] const auto filled =
      ::getrandom(identity.entropy.data(), identity.entropy.size(), 0);  // 64 bytes: never short
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  identity.realtime_ns = std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
  return identity;
}

/// Each endpoint on the network card of its place in the list.
protocol::ConfigureNetwork network_of(const std::vector<EndpointLease>& endpoints) {
  protocol::ConfigureNetwork network;
  for (const EndpointLease& lease : endpoints) {
    const Endpoint& endpoint = lease.endpoint();
    network.interfaces.push_back({
        .slot = static_cast<std::uint32_t>(network.interfaces.size()),
        .mac = endpoint.mac,
        .address = endpoint.address,
        .prefix_length = endpoint.prefix_length,
        .gateway = endpoint.gateway,
        .mtu = endpoint.mtu,
    });
  }
  return network;
}

/// Tags must differ from those of connections that an earlier daemon opened and that may not be
/// closed yet, and from a template's.
std::uint32_t first_own_tag() {
  std::uint32_t random = 0;
  [[maybe_unused]] const auto filled = ::getrandom(&random, sizeof random, 0);
  return 0x10000u + (random & 0x7fffu) * 0x10000u;
}

}  // namespace

CloneMachine::CloneMachine(Context context, std::unique_ptr<MonitorProcess> process)
    : context_(std::move(context)),
      id_(process->name()),
      process_(std::move(process)),
      next_tag_(first_own_tag()),
      monitor_gone_(context_.executor),
      ended_(context_.executor) {}

// ---- making one -----------------------------------------------------------------------------

net::awaitable<Result<std::shared_ptr<CloneMachine>>> CloneMachine::restore(
    Context context, std::string name, std::shared_ptr<const Template> from) {
  auto process = co_await context.launcher.launch(name, from->shape);
  if (!process) co_return std::move(process).error();
  std::shared_ptr<CloneMachine> machine(new CloneMachine(context, std::move(*process)));
  net::co_spawn(context.executor, watch(machine), net::detached);
  Result<void> done = machine->connect();
  if (done) done = machine->send_restore(*from);
  if (!done) {
    machine->end(EndReason::kMonitorError, done.error().message);
    co_return std::move(done).error();
  }
  co_return machine;
}

net::awaitable<Result<void>> CloneMachine::restored() {
  const std::vector<MonitorReply> replies = setup_;
  for (const MonitorReply& reply : replies) {
    const auto answer = co_await reply.wait();
    if (!answer) co_return answer.error();
  }
  setup_.clear();
  co_return Result<void>();
}

Result<void> CloneMachine::connect() {
  auto socket = process_->connect();
  if (!socket) return std::move(socket).error();
  const std::weak_ptr<CloneMachine> weak = weak_from_this();
  monitor_ = MonitorClient::start(context_.executor, std::move(*socket),
                                  {.stopped =
                                       [weak](launch::Stopped stopped) {
                                         if (auto self = weak.lock())
                                           self->stopped_ = std::move(stopped);
                                       },
                                   .lost =
                                       [weak](Error error) {
                                         if (auto self = weak.lock())
                                           self->monitor_lost(std::move(error));
                                       }});
  return {};
}

Result<void> CloneMachine::send_restore(const Template& from) {
  auto memory = duplicate(from.memory);
  auto state = duplicate(from.state);
  if (!memory) return std::move(memory).error();
  if (!state) return std::move(state).error();
  std::vector<base::UniqueFd> files = descriptors(std::move(*memory));
  files.push_back(std::move(*state));
  launch::RestoreMachine restore;
  restore.shape = from.shape;
  setup_.push_back(monitor_->send(restore, std::move(files)));

  for (const std::uint32_t tag : from.streams) {
    auto stream = adopt_stream(tag);
    if (!stream) return std::move(stream).error();
    if (tag == kControlTag) {
      control_stream_ = std::move(*stream);
    } else {
      spare_streams_.push_back(std::move(*stream));
    }
  }
  if (!control_stream_) return Error{Code::kDataLoss, "the template has no control stream"};
  return {};
}

Result<StreamSocket> CloneMachine::adopt_stream(std::uint32_t tag) {
  auto pair = base::make_socket_pair(SOCK_STREAM);
  if (!pair) return std::move(pair).error();
  launch::AdoptStream adopt;
  adopt.tag = tag;
  setup_.push_back(monitor_->send(adopt, descriptors(std::move(pair->second))));
  return StreamSocket(context_.executor, net::local::stream_protocol(), pair->first.release());
}

/// A new connection to the guest. A guest that refuses it shows as the stream's end.
Result<StreamSocket> CloneMachine::open_stream(std::uint32_t port) {
  auto pair = base::make_socket_pair(SOCK_STREAM);
  if (!pair) return std::move(pair).error();
  launch::OpenStream open;
  open.guest_port = port;
  open.tag = next_tag_++;
  monitor_->send(open, descriptors(std::move(pair->second)));
  return StreamSocket(context_.executor, net::local::stream_protocol(), pair->first.release());
}

Result<StreamSocket> CloneMachine::next_stream() {
  if (spare_streams_.empty()) return open_stream(protocol::kStreamPort);
  StreamSocket socket = std::move(spare_streams_.back());
  spare_streams_.pop_back();
  return socket;
}

// ---- starting -------------------------------------------------------------------------------

net::awaitable<Result<ProcessStart>> CloneMachine::begin(MachineSpec spec) {
  id_ = spec.id;
  secret_ = spec.secret;
  endpoints_ = std::move(spec.endpoints);
  const auto self = shared_from_this();
  Result<void> done = process_->rename(spec.id);
  if (done && spec.weights != GroupWeights{}) done = set_weights(spec.weights);
  const auto& limits = spec.container.limits;
  spec.container.layers =
      place_layers(spec.layers, limits.read_bytes != 0 || limits.read_operations != 0);
  if (done) done = attach(spec);
  if (!done) {
    end(EndReason::kMonitorError, done.error().message);
    co_return std::move(done).error();
  }
  setup_.push_back(monitor_->send(launch::Run{}));
  net::co_spawn(context_.executor, watch_setup(self), net::detached);

  start_session(*std::exchange(control_stream_, std::nullopt));
  const StartReplies replies = request_start(spec);
  const bool fills =
      std::ranges::any_of(spec.container.volumes, &protocol::PrepareContainer::Volume::copy_up);
  auto limit = context_.start_timeout;
  if (fills) limit = context_.fill_timeout;
  const std::stop_callback abandoned(
      spec.abandoned, [this] { end(EndReason::kRequested, "its start was abandoned"); });
  auto started = co_await await_start(replies, limit);
  if (!started) co_return co_await failed_start(std::move(started).error());
  if (started->refusal) end(EndReason::kRequested, "its first process did not start");
  co_return started;
}

Result<void> CloneMachine::attach(MachineSpec& spec) {
  if (!spec.layers.empty()) RETURN_IF_ERROR(attach_layers(spec));
  RETURN_IF_ERROR(attach_disks(spec));
  return attach_networks();
}

Result<void> CloneMachine::attach_networks() {
  launch::AttachNetwork attach_network;
  for (EndpointLease& lease : endpoints_) {
    auto tap = lease.take_tap();
    if (!tap) return std::move(tap).error();
    attach_network.mac = lease.endpoint().mac;
    setup_.push_back(monitor_->send(attach_network, descriptors(*std::move(tap))));
    ++attach_network.slot;
  }
  return {};
}

Result<void> CloneMachine::attach_layers(const MachineSpec& spec) {
  launch::AttachLayers attach_layers;
  std::vector<base::UniqueFd> files;
  for (const LayerFile& layer : spec.layers) {
    auto file = open_file(layer.path, O_RDONLY);
    if (!file) return std::move(file).error();
    files.push_back(std::move(*file));
  }
  for (const auto& place : spec.container.layers)
    attach_layers.extents.push_back(
        {.offset = place.offset, .length = place.length, .in_window = place.in_window});
  setup_.push_back(monitor_->send(attach_layers, std::move(files)));
  return {};
}

/// Also fills in where the volumes are.
Result<void> CloneMachine::attach_disks(MachineSpec& spec) {
  std::vector<std::filesystem::path> paths = {spec.disk};
  paths.insert(paths.end(), spec.volumes.begin(), spec.volumes.end());
  std::vector<base::UniqueFd> files;
  std::vector<std::uint64_t> sizes;
  for (const std::filesystem::path& path : paths) {
    auto file = open_file(path, O_RDWR);
    if (!file) return std::move(file).error();
    struct stat status {};
    if (::fstat(file->get(), &status) != 0) return base::errno_error("stat " + path.string());
    sizes.push_back(static_cast<std::uint64_t>(status.st_size));
    files.push_back(std::move(*file));
  }
  auto places = place_volumes(sizes.front(), std::span(sizes).subspan(1));
  if (!places) return std::move(places).error();
  launch::AttachDisk attach_disk;
  attach_disk.extents.push_back({.offset = 0, .length = sizes.front()});
  for (const auto& place : *places)
    attach_disk.extents.push_back({.offset = place.offset, .length = place.length});
  spec.container.volume_disks = *std::move(places);
  setup_.push_back(monitor_->send(attach_disk, std::move(files)));
  return {};
}

/// Everything the guest needs for its first process, in one write, nothing waited for.
CloneMachine::StartReplies CloneMachine::request_start(MachineSpec& spec) {
  auto io = std::make_shared<ProcessIo>(context_.executor, spec.process.process, spec.sink);
  processes_.emplace(spec.process.process, io);
  StartReplies replies;
  replies.emplace_back("identity", session_->request(identity_of(spec)));
  replies.emplace_back("network", session_->request(network_of(endpoints_)));
  replies.emplace_back("container", session_->request(spec.container));
  replies.emplace_back(kProcessPhase, session_->request(spec.process));
  session_->flush();
  if (auto opened = open_streams(*io, spec.process); !opened)
    end(EndReason::kMonitorError, opened.error().message);
  return replies;
}

/// The answers in their order: the first that is a refusal says what went wrong.
net::awaitable<Result<ProcessStart>> CloneMachine::await_start(StartReplies replies,
                                                               milliseconds timeout) {
  const auto begin = Clock::now();
  std::string phases;
  ProcessStart result;
  for (const auto& [what, reply] : replies) {
    const auto left = timeout - (Clock::now() - begin);
    const auto answer = co_await reply.wait_for(std::chrono::ceil<milliseconds>(left));
    if (!answer)
      co_return Error{Code::kDeadlineExceeded, "the machine did not start its process in time"};
    if (!*answer) co_return answer->error();
    result.refusal = GuestSession::refusal_in(**answer);
    if (result.refusal) co_return result;
    const auto* started = std::get_if<protocol::ProcessStarted>(&**answer);
    if ((started != nullptr) != (what == kProcessPhase))
      co_return Error{Code::kDataLoss, "the guest gave an answer of the wrong kind"};
    if (started != nullptr) result.pid = started->pid;
    const std::chrono::duration<double, std::milli> passed = Clock::now() - begin;
    phases += fmt::format(" {} {:.1f}", what, passed.count());
  }
  spdlog::debug("start phases of {} (ms after run):{}", id_, phases);
  co_return result;
}

net::awaitable<void> CloneMachine::watch_setup(std::shared_ptr<CloneMachine> self) {
  const auto done = co_await self->restored();
  if (!done && done.error().code != Code::kUnavailable)
    self->end(EndReason::kMonitorError, done.error().message);
}

Result<void> CloneMachine::open_streams(ProcessIo& io, const protocol::StartProcess& process) {
  std::vector<protocol::Stream> streams = {protocol::Stream::kStdout};
  if (!process.tty) streams.push_back(protocol::Stream::kStderr);
  if (process.open_stdin) streams.push_back(protocol::Stream::kStdin);
  for (const protocol::Stream stream : streams) {
    auto socket = next_stream();
    if (!socket) return std::move(socket).error();
    io.open(stream, std::move(*socket), secret_);
  }
  return {};
}

void CloneMachine::start_session(StreamSocket socket) {
  const std::weak_ptr<CloneMachine> weak = weak_from_this();
  session_ = GuestSession::start(context_.executor, std::move(socket),
                                 {.exited =
                                      [weak](protocol::ProcessExited message) {
                                        if (auto self = weak.lock())
                                          self->process_exited(std::move(message));
                                      },
                                  .lost =
                                      [weak](Error error) {
                                        if (auto self = weak.lock())
                                          self->guest_lost(std::move(error));
                                      }});
}

}  // namespace engine
