// The containers of a machine: the first, with which it begins to run, and further ones.
#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/random.h>
#include <sys/stat.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <limits>

#include "api/machines/clone_machine.h"
#include "api/machines/layer_places.h"
#include "vmm/base/scope_exit.h"

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

/// Fills in what is drawn and read as late as possible: entropy and the time.
void complete(protocol::SetIdentity& identity) {
  [[maybe_unused]] const auto filled =
      ::getrandom(identity.entropy.data(), identity.entropy.size(), 0);  // 64 bytes: never short
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  identity.realtime_ns = std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

/// Whether a limit slows reads down. What is mapped is read without I/O, so it would escape the
/// limit.
bool slows_reads(const protocol::PrepareContainer::Limits& limits) {
  return limits.read_bytes != 0 || limits.read_operations != 0;
}

}  // namespace

Result<void> CloneMachine::check_new(const ContainerSpec& spec) const {
  const ContainerNumber number = spec.settings.container;
  constexpr std::size_t kMaxLayers = 127;
  if (spec.layers.size() > kMaxLayers)
    return Error{Code::kInvalidArgument, "an image may have at most 127 layers"};
  if (number == 0 || number > kMostContainers || spec.process.container != number)
    return Error{Code::kInvalidArgument,
                 "the container's number is out of range, or is not that of its process"};
  if (containers_.contains(number))
    return Error{Code::kAlreadyExists, "the machine has this container already"};
  if (find(spec.process.process))
    return Error{Code::kInvalidArgument, "the process number is taken"};
  if (ending_.forced || ending_.done.has_value() || (!session_ && !beginning_))
    return ended_error();
  return {};
}

net::awaitable<Result<ProcessStart>> CloneMachine::add_container(ContainerSpec spec) {
  const auto self = shared_from_this();
  RETURN_IF_ERROR_ASYNC(check_new(spec));
  containers_.emplace(spec.settings.container, Membership::kComing);
  sockets_.paths[spec.settings.container] = std::exchange(spec.sockets, {});
  if (!beginning_) co_return co_await add_further(std::move(spec));
  auto started = co_await add_first(std::move(spec));
  if (!started) co_return base::annotate(std::move(started).error(), "start the machine");
  co_return started;
}

milliseconds CloneMachine::start_limit(const ContainerSpec& spec) const {
  const bool fills =
      std::ranges::any_of(spec.settings.mounts, &protocol::PrepareContainer::Mount::copy_up);
  return fills ? context_.fill_timeout : context_.start_timeout;
}

net::awaitable<Result<ProcessStart>> CloneMachine::add_first(ContainerSpec spec) {
  Beginning beginning = *std::exchange(beginning_, std::nullopt);
  const base::ScopeExit begun([&beginning] {
    if (beginning.begun) beginning.begun();
  });
  const bool window = !slows_reads(spec.settings.limits);
  if (auto shared = co_await share_files(spec, setup_); !shared) {
    end(EndReason::kRequested, shared.error().message);
    co_return std::move(shared).error();
  }
  if (ending_.forced || ending_.done.has_value()) co_return ended_error();
  if (auto attached = attach_files(spec, window, setup_); !attached) {
    end(EndReason::kMonitorError, attached.error().message);
    co_return std::move(attached).error();
  }
  setup_.push_back(monitor_->send(launch::Run{}));
  net::co_spawn(context_.executor, watch_setup(shared_from_this()), net::detached);

  start_session(streams_->take_control());
  complete(beginning.identity);
  StartReplies replies;
  replies.emplace_back("identity", session_->request(std::move(beginning.identity)));
  replies.emplace_back("network", session_->request(network_request()));
  request_container(spec, replies);
  const std::stop_callback abandoned(
      spec.abandoned, [this] { end(EndReason::kRequested, "its start was abandoned"); });
  auto started = co_await await_start(std::move(replies), start_limit(spec));
  if (!started) co_return co_await failed_start(std::move(started).error());
  if (started->refusal) end(EndReason::kRequested, "its first process did not start");
  containers_[spec.settings.container] = Membership::kIn;
  co_return started;
}

/// The guest runs: its files must be there before it hears of them.
net::awaitable<Result<ProcessStart>> CloneMachine::add_further(ContainerSpec spec) {
  std::vector<MonitorReply> attached;
  Result<void> ready = co_await share_files(spec, attached);
  if (ready) ready = attach_files(spec, /*window=*/false, attached);
  if (ready) ready = co_await carried_out(std::move(attached));
  Result<ProcessStart> started = Error{Code::kInternal, {}};
  if (!ready) {
    started = std::move(ready).error();
  } else {
    StartReplies replies;
    request_container(spec, replies);
    started = co_await await_start(std::move(replies), start_limit(spec));
  }
  if (started && spec.abandoned.stop_requested())
    started = Error{Code::kUnavailable, "the container's start was abandoned"};
  if (started && !started->refusal) {
    containers_[spec.settings.container] = Membership::kIn;
    co_return started;
  }
  // Without an answer the guest may have started the process: its exit must be taken, and dropped.
  const ProcessId process = spec.process.process;
  if (started)
    drop_process(process);
  else if (const auto io = find(process))
    net::co_spawn(context_.executor, forget_at_end(shared_from_this(), io, process), net::detached);
  [[maybe_unused]] const auto taken_out =
      co_await take_out(spec.settings.container, context_.answer_timeout);
  co_return started;
}

std::vector<ContainerNumber> CloneMachine::containers() const {
  std::vector<ContainerNumber> numbers;
  for (const auto& [number, membership] : containers_) numbers.push_back(number);
  return numbers;
}

net::awaitable<Result<void>> CloneMachine::remove_container(ContainerNumber container,
                                                            milliseconds timeout) {
  const auto self = shared_from_this();
  const auto found = containers_.find(container);
  if (found == containers_.end())
    co_return Error{Code::kNotFound, "the machine has no such container"};
  if (found->second != Membership::kIn)
    co_return Error{Code::kConflict, "the container is being added or removed"};
  co_return co_await take_out(container, timeout);
}

/// Takes a container's files away, whatever the guest says: it may be unwilling to let them go.
net::awaitable<Result<void>> CloneMachine::take_out(ContainerNumber container,
                                                    milliseconds timeout) {
  containers_[container] = Membership::kLeaving;
  auto removed = co_await remove_from_guest(container, timeout);
  co_await take_shares(container, container);
  [[maybe_unused]] const auto detached = co_await detach_files(container, container);
  sockets_.paths.erase(container);
  containers_.erase(container);
  co_return removed;
}

net::awaitable<Result<void>> CloneMachine::detach_files(ContainerNumber first,
                                                        ContainerNumber last) {
  launch::DetachLayers layers;
  layers.begin = part_of(first).begin;
  layers.end = part_of(last).end;
  launch::DetachDisk disk;
  disk.begin = layers.begin;
  disk.end = layers.end;
  std::vector<MonitorReply> replies;
  replies.push_back(monitor_->send(layers));
  replies.push_back(monitor_->send(disk));
  auto detached = co_await carried_out(std::move(replies));
  if (!detached) co_return co_await end_of_use(std::move(detached).error());
  co_return detached;
}

/// The guest first, so that its processes see no card that is dead; but it may be unwilling.
net::awaitable<Result<void>> CloneMachine::end_of_use(Error error) {
  end(EndReason::kMonitorError, error.message);
  co_await ending_.done.wait();
  co_return Error{Code::kUnavailable, std::move(error.message)};
}

net::awaitable<Result<void>> CloneMachine::carried_out(std::vector<MonitorReply> replies) {
  for (const MonitorReply& reply : replies) {
    const auto answer = co_await reply.wait_for(context_.answer_timeout);
    if (!answer) co_return Error{Code::kDeadlineExceeded, "the machine's monitor does not answer"};
    if (!*answer) co_return answer->error();
  }
  co_return Result<void>();
}

Result<void> CloneMachine::attach_files(ContainerSpec& spec, bool window,
                                        std::vector<MonitorReply>& replies) {
  if (!spec.layers.empty()) RETURN_IF_ERROR(attach_layers(spec, window, replies));
  return attach_disks(spec, replies);
}

Result<void> CloneMachine::attach_layers(ContainerSpec& spec, bool window,
                                         std::vector<MonitorReply>& replies) {
  spec.settings.layers = place_layers(spec.settings.container, spec.layers, window);
  launch::AttachLayers attach;
  std::vector<base::UniqueFd> files;
  for (const images::LayerFile& layer : spec.layers) {
    auto file = open_file(layer.path, O_RDONLY);
    if (!file) return std::move(file).error();
    files.push_back(std::move(*file));
  }
  for (const auto& place : spec.settings.layers)
    attach.extents.push_back(
        {.offset = place.offset, .length = place.length, .in_window = place.in_window});
  replies.push_back(monitor_->send(attach, std::move(files)));
  return {};
}

Result<void> CloneMachine::attach_disks(ContainerSpec& spec, std::vector<MonitorReply>& replies) {
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
  spec.settings.disk = place_own_disk(spec.settings.container);
  if (sizes.front() > spec.settings.disk.length)
    return Error{Code::kResourceExhausted, "the container's disk is larger than 64 TiB"};
  auto places = place_volumes(spec.settings.container, std::span(sizes).subspan(1));
  if (!places) return std::move(places).error();
  launch::AttachDisk attach;
  attach.extents.push_back({.offset = spec.settings.disk.offset, .length = sizes.front()});
  for (const auto& place : *places)
    attach.extents.push_back({.offset = place.offset, .length = place.length});
  spec.settings.volume_disks = *std::move(places);
  replies.push_back(monitor_->send(attach, std::move(files)));
  return {};
}

void CloneMachine::request_container(ContainerSpec& spec, StartReplies& replies) {
  auto io = std::make_shared<ProcessIo>(context_.executor, spec.process.process, spec.sink);
  processes_.by_id.emplace(spec.process.process, io);
  replies.emplace_back("container", session_->request(spec.settings));
  replies.emplace_back(kProcessPhase, session_->request(spec.process));
  session_->flush();
  if (auto opened = open_streams(*io, spec.process); !opened)
    end(EndReason::kMonitorError, opened.error().message);
}

/// Looks at the answers in their order: the first refusal says what went wrong.
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
  spdlog::debug("start phases of {} (ms after the request):{}", identity_.id, phases);
  co_return result;
}

/// A stream that broke tells little: how the machine ended says more.
net::awaitable<Error> CloneMachine::failed_start(Error error) {
  if (error.code == Code::kUnavailable) co_await ending_.done.wait_for(kEndPatience);
  end(EndReason::kMonitorError, error.message);
  co_await ending_.done.wait();
  error.message = ended_error().message;
  co_return error;
}

}  // namespace engine
