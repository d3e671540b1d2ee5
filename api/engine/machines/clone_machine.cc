#include "api/engine/machines/clone_machine.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <csignal>

#include "api/engine/machines/layer_places.h"
#include "vmm/base/seqpacket.h"

namespace engine {

namespace {

using base::Code;
using base::Error;
using base::Result;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr std::string_view kProcessPhase = "process";
/// How long a monitor that closed a connection may take to be gone by itself.
constexpr milliseconds kEndPatience{2000};

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

protocol::SetIdentity identity_of(const std::string& machine_id) {
  protocol::SetIdentity identity;
  identity.machine_id = machine_id;
  [[maybe_unused]] const auto filled =
      ::getrandom(identity.entropy.data(), identity.entropy.size(), 0);  // 64 bytes: never short
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  identity.realtime_ns = std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
  return identity;
}

protocol::ConfigureNetwork network_of(const std::optional<Endpoint>& endpoint) {
  protocol::ConfigureNetwork network;
  if (!endpoint) return network;
  network.interface = protocol::ConfigureNetwork::Interface{
      .mac = endpoint->mac,
      .address = endpoint->address,
      .prefix_length = endpoint->prefix_length,
      .gateway = endpoint->gateway,
      .mtu = endpoint->mtu,
  };
  return network;
}

EndReason reason_of(launch::StopReason reason) {
  switch (reason) {
    case launch::StopReason::kHostRequest:
      return EndReason::kRequested;
    case launch::StopReason::kGuestShutdown:
      return EndReason::kGuestShutdown;
    case launch::StopReason::kGuestPanic:
      return EndReason::kGuestPanic;
    case launch::StopReason::kTripleFault:
      return EndReason::kTripleFault;
    case launch::StopReason::kMonitorError:
      return EndReason::kMonitorError;
  }
  return EndReason::kProtocolViolation;
}

/// Tags must differ from those of connections that an earlier daemon opened and that may not be
/// closed yet, and from a template's.
std::uint32_t first_own_tag() {
  std::uint32_t random = 0;
  [[maybe_unused]] const auto filled = ::getrandom(&random, sizeof random, 0);
  return 0x10000u + (random & 0x7fffu) * 0x10000u;
}

Error error_of(const protocol::Failure& refusal) {
  switch (refusal.kind) {
    case protocol::FailureKind::kNoSuchProcess:
      return {Code::kNotFound, refusal.message};
    case protocol::FailureKind::kLimit:
      return {Code::kInvalidArgument, refusal.message};
    default:
      return {Code::kInternal, refusal.message};
  }
}

/// nullopt: it was carried out.
std::optional<protocol::Failure> refusal_in(const GuestSession::Success& answer) {
  if (const auto* failure = std::get_if<protocol::Failure>(&answer)) return *failure;
  return std::nullopt;
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

net::awaitable<Result<ProcessStart>> CloneMachine::begin(MachineSpec spec, base::UniqueFd tap) {
  id_ = spec.id;
  const auto self = shared_from_this();
  Result<void> done = process_->rename(spec.id);
  if (done && spec.weights != GroupWeights{}) done = set_weights(spec.weights);
  const auto& limits = spec.container.limits;
  spec.container.layers =
      place_layers(spec.layers, limits.read_bytes != 0 || limits.read_operations != 0);
  if (done) done = attach(spec, std::move(tap));
  if (!done) {
    end(EndReason::kMonitorError, done.error().message);
    co_return std::move(done).error();
  }
  setup_.push_back(monitor_->send(launch::Run{}));
  net::co_spawn(context_.executor, watch_setup(self), net::detached);

  start_session(*std::exchange(control_stream_, std::nullopt));
  const StartReplies replies = request_start(spec);
  auto started = co_await await_start(replies);
  if (!started) co_return co_await failed_start(std::move(started).error());
  if (started->refusal) end(EndReason::kRequested, "its first process did not start");
  co_return started;
}

/// A stream that broke tells little: how the machine ended says more.
net::awaitable<Error> CloneMachine::failed_start(Error error) {
  if (error.code == Code::kUnavailable) co_await ended_.wait_for(kEndPatience);
  end(EndReason::kMonitorError, error.message);
  co_await ended_.wait();
  error.message = ended_error().message;
  co_return error;
}

Result<void> CloneMachine::attach(const MachineSpec& spec, base::UniqueFd tap) {
  if (!spec.layers.empty()) RETURN_IF_ERROR(attach_layers(spec));

  auto disk = open_file(spec.disk, O_RDWR);
  if (!disk) return std::move(disk).error();
  struct stat status {};
  if (::fstat(disk->get(), &status) != 0) return base::errno_error("stat the disk");
  launch::AttachDisk attach_disk;
  attach_disk.size_bytes = static_cast<std::uint64_t>(status.st_size);
  setup_.push_back(monitor_->send(attach_disk, descriptors(std::move(*disk))));

  if (!tap) return {};
  launch::AttachNetwork attach_network;
  attach_network.mac = spec.network->mac;
  setup_.push_back(monitor_->send(attach_network, descriptors(std::move(tap))));
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

/// Everything the guest needs for its first process, in one write, nothing waited for.
CloneMachine::StartReplies CloneMachine::request_start(MachineSpec& spec) {
  auto io = std::make_shared<ProcessIo>(context_.executor, spec.process.process, spec.sink);
  processes_.emplace(spec.process.process, io);
  StartReplies replies;
  replies.emplace_back("identity", session_->request(identity_of(spec.machine_id)));
  replies.emplace_back("network", session_->request(network_of(spec.network)));
  replies.emplace_back("container", session_->request(spec.container));
  replies.emplace_back(kProcessPhase, session_->request(spec.process));
  session_->flush();
  if (auto opened = open_streams(*io, spec.process); !opened)
    end(EndReason::kMonitorError, opened.error().message);
  return replies;
}

/// The answers in their order: the first that is a refusal says what went wrong.
net::awaitable<Result<ProcessStart>> CloneMachine::await_start(StartReplies replies) {
  const auto begin = Clock::now();
  std::string phases;
  ProcessStart result;
  for (const auto& [what, reply] : replies) {
    const auto left = context_.start_timeout - (Clock::now() - begin);
    const auto answer = co_await reply.wait_for(std::chrono::ceil<milliseconds>(left));
    if (!answer)
      co_return Error{Code::kDeadlineExceeded, "the machine did not start its process in time"};
    if (!*answer) co_return answer->error();
    result.refusal = refusal_in(**answer);
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
    io.open(stream, std::move(*socket));
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

// ---- adoption -------------------------------------------------------------------------------

net::awaitable<Result<std::shared_ptr<CloneMachine>>> CloneMachine::adopt(
    Context context, std::unique_ptr<MonitorProcess> process, AdoptSpec spec) {
  std::shared_ptr<CloneMachine> machine(new CloneMachine(context, std::move(process)));
  net::co_spawn(context.executor, watch(machine), net::detached);
  Result<void> done = machine->connect();
  if (done) done = co_await machine->greet(std::move(spec));
  if (!done) {
    machine->end(EndReason::kMonitorError, done.error().message);
    co_await machine->wait_stopped();
    co_return base::annotate(std::move(done).error(), "go on with machine " + machine->id_);
  }
  co_return machine;
}

net::awaitable<Result<void>> CloneMachine::greet(AdoptSpec spec) {
  auto control = open_stream(protocol::kControlPort);
  if (!control) co_return std::move(control).error();
  early_exits_.emplace();
  start_session(std::move(*control));
  const auto pending = session_->hello();
  session_->flush();
  const auto reply = co_await pending.wait_for(context_.start_timeout);
  if (!reply) co_return Error{Code::kDeadlineExceeded, "the guest does not answer"};
  if (!*reply) co_return reply->error();
  co_return resume(spec, **reply);
}

/// Takes up the streams where they were. Exits come again by themselves.
Result<void> CloneMachine::resume(const AdoptSpec& spec, const protocol::HelloReply& reply) {
  std::vector<ProcessId> unwanted;
  for (const protocol::HelloReply::Process& known : reply.processes) {
    const auto found = spec.processes.find(known.process);
    auto io =
        std::make_shared<ProcessIo>(context_.executor, known.process,
                                    found == spec.processes.end() ? nullptr : found->second.sink);
    if (!processes_.emplace(known.process, io).second) continue;
    AdoptSpec::Process wanted;
    if (found != spec.processes.end()) wanted = found->second;
    const auto open = [&](protocol::Stream stream, std::uint64_t offset) {
      if (auto socket = next_stream()) io->open(stream, std::move(*socket), offset);
    };
    open(protocol::Stream::kStdout, wanted.stdout_bytes.value_or(known.stdout_bytes));
    if (!wanted.tty)
      open(protocol::Stream::kStderr, wanted.stderr_bytes.value_or(known.stderr_bytes));
    if (wanted.open_stdin) open(protocol::Stream::kStdin, 0);
    if (found != spec.processes.end()) continue;
    open(protocol::Stream::kStdin, 0);  // whoever wrote to it is gone
    io->close_stdin();
    net::co_spawn(context_.executor, forget_at_end(shared_from_this(), io, known.process),
                  net::detached);
    if (!known.exit && known.process >= spec.kill_unknown_from) unwanted.push_back(known.process);
  }
  std::vector<protocol::ProcessExited> early = std::move(*early_exits_);
  early_exits_.reset();
  for (protocol::ProcessExited& exit : early) process_exited(std::move(exit));
  for (const ProcessId process : unwanted) {
    protocol::SignalProcess kill;
    kill.process = process;
    kill.signal = SIGKILL;
    session_->request(kill);
  }
  session_->flush();
  if (forced_end_) return ended_error();
  return {};
}

/// Nobody asks how a process ended that the last daemon started for a client of its own.
net::awaitable<void> CloneMachine::forget_at_end(std::shared_ptr<CloneMachine> self,
                                                 std::shared_ptr<ProcessIo> io, ProcessId process) {
  const auto outcome = co_await io->outcome().wait();
  if (outcome) self->forget_process(process);
}

// ---- processes ------------------------------------------------------------------------------

std::shared_ptr<ProcessIo> CloneMachine::find(ProcessId process) const {
  const auto found = processes_.find(process);
  return found == processes_.end() ? nullptr : found->second;
}

net::awaitable<Result<ProcessStart>> CloneMachine::start_process(protocol::StartProcess process,
                                                                 std::shared_ptr<OutputSink> sink) {
  const auto self = shared_from_this();
  if (ended_.has_value() || !session_) co_return ended_error();
  auto io = std::make_shared<ProcessIo>(context_.executor, process.process, std::move(sink));
  if (!processes_.emplace(process.process, io).second)
    co_return Error{Code::kInvalidArgument, "the process number is taken"};
  const GuestReply pending = session_->request(process);
  session_->flush();
  const auto opened = open_streams(*io, process);
  const auto answer = co_await pending.wait();
  if (opened && answer) {
    if (const auto* started = std::get_if<protocol::ProcessStarted>(&*answer))
      co_return ProcessStart{started->pid, std::nullopt};
  }
  processes_.erase(process.process);
  io->machine_ended(ended_error());
  if (!opened) co_return opened.error();
  if (!answer) co_return ended_error();
  if (auto refusal = refusal_in(*answer)) co_return ProcessStart{0, std::move(refusal)};
  end(EndReason::kProtocolViolation, "the guest gave the wrong answer to StartProcess");
  co_return ended_error();
}

net::awaitable<Result<protocol::ExitStatus>> CloneMachine::wait_exit(ProcessId process) {
  const auto io = find(process);
  if (!io) co_return Error{Code::kNotFound, "no such process"};
  co_return co_await io->outcome().wait();
}

void CloneMachine::process_exited(protocol::ProcessExited message) {
  constexpr std::size_t kMostEarlyExits = 1 << 16;
  if (const auto io = find(message.process)) {
    io->exited(std::move(message));
  } else if (early_exits_ && early_exits_->size() < kMostEarlyExits) {
    early_exits_->push_back(std::move(message));
  } else {
    end(EndReason::kProtocolViolation, "the guest reported the exit of a process it has not");
  }
}

void CloneMachine::forget_process(ProcessId process) {
  if (processes_.erase(process) == 0 || !session_) return;
  protocol::ForgetProcess forget;
  forget.process = process;
  session_->request(forget);
  session_->flush();
}

net::awaitable<Result<void>> CloneMachine::write_stdin(ProcessId process,
                                                       std::vector<std::byte> bytes) {
  const auto io = find(process);
  if (!io) co_return Error{Code::kUnavailable, "no such process"};
  co_return co_await io->write_stdin(std::move(bytes));
}

void CloneMachine::close_stdin(ProcessId process) {
  if (const auto io = find(process)) io->close_stdin();
}

template <typename Answer, typename M>
net::awaitable<Result<Answer>> CloneMachine::ask(M message) {
  const auto self = shared_from_this();
  if (ended_.has_value() || !session_) co_return ended_error();
  const GuestReply pending = session_->request(std::move(message));
  session_->flush();
  auto answer = co_await pending.wait();
  if (!answer) co_return answer.error();
  if (auto* wanted = std::get_if<Answer>(&*answer)) co_return std::move(*wanted);
  if (const auto refusal = refusal_in(*answer)) co_return error_of(*refusal);
  end(EndReason::kProtocolViolation, "the guest gave an answer of the wrong kind");
  co_return ended_error();
}

template <typename M>
net::awaitable<Result<void>> CloneMachine::simple_request(M message) {
  const Result<protocol::Done> done = co_await ask<protocol::Done>(std::move(message));
  if (!done) co_return done.error();
  co_return Result<void>();
}

net::awaitable<Result<void>> CloneMachine::signal(ProcessId process, int signal_number) {
  protocol::SignalProcess message;
  message.process = process;
  message.signal = signal_number;
  return simple_request(message);
}

net::awaitable<Result<void>> CloneMachine::resize(ProcessId process, std::uint16_t rows,
                                                  std::uint16_t columns) {
  protocol::ResizeTerminal message;
  message.process = process;
  message.rows = rows;
  message.columns = columns;
  return simple_request(message);
}

net::awaitable<Result<void>> CloneMachine::set_frozen(bool frozen) {
  protocol::FreezeContainer message;
  message.container = kMainContainer;
  message.frozen = frozen;
  return simple_request(message);
}

net::awaitable<Result<void>> CloneMachine::update_limits(
    protocol::PrepareContainer::Limits limits) {
  protocol::UpdateLimits message;
  message.container = kMainContainer;
  message.limits = std::move(limits);
  return simple_request(std::move(message));
}

Result<void> CloneMachine::set_weights(const GroupWeights& weights) {
  return context_.launcher.privileged().set_weights(process_->group(), weights);
}

net::awaitable<Result<protocol::Statistics>> CloneMachine::statistics() {
  protocol::ReadStatistics message;
  message.container = kMainContainer;
  return ask<protocol::Statistics>(message);
}

net::awaitable<Result<protocol::ProcessList>> CloneMachine::processes() {
  protocol::ListProcesses message;
  message.container = kMainContainer;
  return ask<protocol::ProcessList>(message);
}

// ---- the end --------------------------------------------------------------------------------

net::awaitable<void> CloneMachine::shutdown(milliseconds timeout) {
  const auto self = shared_from_this();
  if (!ended_.has_value() && session_) {
    const GuestReply pending = session_->request(protocol::Shutdown{});
    session_->flush();
    const auto answer = co_await pending.wait_for(timeout);
    // Done: the disk is clean. No need to wait for the guest to power off by itself.
    if (answer && *answer && std::holds_alternative<protocol::Done>(**answer))
      end(EndReason::kGuestShutdown, "the machine was shut down");
  }
  kill();
  co_await ended_.wait();
}

void CloneMachine::kill() { end(EndReason::kRequested, "the machine was killed"); }

net::awaitable<MachineEnd> CloneMachine::wait_stopped() { return ended_.wait(); }

void CloneMachine::end(EndReason reason, std::string message) {
  if (forced_end_ || ended_.has_value()) return;
  forced_end_ = MachineEnd{reason, std::move(message), {}};
  process_->kill();
}

void CloneMachine::on_ended(std::function<void()> handler) {
  if (conclusion_ && handler) {
    net::post(context_.executor, std::move(handler));  // it came too late to be called by watch()
  } else {
    on_ended_ = std::move(handler);
  }
}

void CloneMachine::guest_lost(Error error) {
  if (error.code != Code::kUnavailable) return end(EndReason::kProtocolViolation, error.message);
  net::co_spawn(context_.executor, end_unless_gone(shared_from_this(), std::move(error.message)),
                net::detached);
}

void CloneMachine::monitor_lost(Error error) {
  monitor_gone_.set();
  guest_lost(std::move(error));
}

/// A closed connection usually means that the monitor is ending: give it the time to say why.
net::awaitable<void> CloneMachine::end_unless_gone(std::shared_ptr<CloneMachine> self,
                                                   std::string message) {
  const auto gone = co_await self->ended_.wait_for(kEndPatience);
  if (!gone) self->end(EndReason::kProtocolViolation, std::move(message));
}

net::awaitable<void> CloneMachine::watch(std::shared_ptr<CloneMachine> self) {
  const std::string how = co_await self->process_->wait();
  // Its last words may still be unread.
  if (self->monitor_) co_await self->monitor_gone_.wait_for(kEndPatience);
  const MachineEnd end = self->conclude(how);
  spdlog::debug("machine {} ended: {}", self->id_, end.message);
  if (self->monitor_) self->monitor_->close();
  if (self->session_) self->session_->close();
  self->control_stream_.reset();
  self->spare_streams_.clear();

  const std::string name = self->process_->name();
  const std::string group = self->process_->group();
  MonitorLauncher& launcher = self->context_.launcher;
  std::function<bool()> removal = [&launcher, name, group] {
    MonitorProcess::remove(launcher, name, group);
    return true;
  };
  co_await self->context_.pool.run(std::move(removal));
  self->conclusion_ = end;
  self->ended_.set(end);
  for (const auto& [id, io] : self->processes_) io->machine_ended(self->ended_error());
  if (const auto handler = std::move(self->on_ended_)) handler();
}

MachineEnd CloneMachine::conclude(std::string how_process_ended) const {
  std::optional<launch::Stopped> stopped = stopped_;
  if (!stopped) stopped = process_->result();
  if (forced_end_) {
    MachineEnd end = *forced_end_;
    if (stopped) end.console_tail = stopped->console_tail;
    return end;
  }
  if (stopped) return {reason_of(stopped->reason), stopped->message, stopped->console_tail};
  return {EndReason::kMonitorDied,
          "the machine's monitor " +
              (how_process_ended.empty() ? std::string("died") : how_process_ended),
          {}};
}

Error CloneMachine::ended_error() const {
  std::string message = "the machine has ended";
  if (forced_end_) message = forced_end_->message;
  if (conclusion_) message = conclusion_->message;
  return {Code::kUnavailable, std::move(message)};
}

}  // namespace engine
