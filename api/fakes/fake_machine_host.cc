#include "api/fakes/fake_machine_host.h"

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <csignal>
#include <fstream>

#include "api/async/notifier.h"

namespace fakes {

using base::Code;
using base::Error;
using base::Result;
using engine::ProcessId;
using protocol::ExitStatus;
using protocol::Stream;

namespace {

/// A machine's ID begins with as much of its first container's.
constexpr std::size_t kShortId = 12;

std::vector<std::byte> bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

/// The commands this guest knows:
///   true, false · exit N · echo WORD... · err WORD... (to stderr) · cat (until end of input)
///   sleep (until a signal) · stubborn (until SIGKILL) · immortal (until its machine ends)
///   spew N (N bytes) · size (the terminal's)
///   wedged (the guest never answers that it started)
class FakeMachine final : public engine::Machine, public std::enable_shared_from_this<FakeMachine> {
 public:
  FakeMachine(net::any_io_executor executor, std::string id, std::shared_ptr<FakeFiles> files,
              std::shared_ptr<FakeTrouble> trouble, std::shared_ptr<FakeSpecs> last)
      : executor_(executor),
        id_(std::move(id)),
        changed_(executor),
        files_(std::move(files)),
        trouble_(std::move(trouble)),
        last_(std::move(last)) {}

  const std::string& id() const override { return id_; }

  net::awaitable<Result<engine::ProcessStart>> add_container(engine::ContainerSpec spec) override {
    const auto self = shared_from_this();
    last_->container = spec;
    const engine::ContainerNumber number = spec.settings.container;
    const bool first = containers_.empty();
    if (!containers_.emplace(number, Container{spec.settings.namespaces, spec.process.process})
             .second)
      co_return Error{Code::kAlreadyExists, "the machine has this container already"};
    const std::stop_callback abandoned(spec.abandoned, [this, first] {
      if (first) kill();
    });
    auto started = co_await start_process(std::move(spec.process), std::move(spec.sink));
    if (!started || started->refusal) containers_.erase(number);
    changed_.notify_all();
    co_return started;
  }
  std::vector<engine::ContainerNumber> containers() const override {
    std::vector<engine::ContainerNumber> numbers;
    for (const auto& [number, container] : containers_) numbers.push_back(number);
    return numbers;
  }
  net::awaitable<Result<void>> remove_container(engine::ContainerNumber number,
                                                std::chrono::milliseconds timeout) override {
    const auto self = shared_from_this();
    if (!containers_.contains(number)) co_return Error{Code::kNotFound, "no such container"};
    if (trouble_->stalled) {
      net::steady_timer timer(executor_, timeout);
      co_await timer.async_wait(async::kTuple);
    }
    for (auto& [id, process] : processes_)
      if (process.container == number) process.signal = SIGKILL;
    containers_.erase(number);
    changed_.notify_all();
    co_return Result<void>();
  }
  std::vector<engine::Endpoint> endpoints() const override {
    std::vector<engine::Endpoint> endpoints;
    for (const engine::EndpointLease& lease : endpoints_) endpoints.push_back(lease.endpoint());
    return endpoints;
  }
  net::awaitable<Result<void>> connect(engine::EndpointLease endpoint,
                                       std::optional<std::uint32_t> route) override {
    if (stopped_) co_return Error{Code::kUnavailable, "the machine has ended"};
    if (trouble_->refused_network)
      co_return Error{Code::kInternal, "the guest refuses the network"};
    endpoints_.push_back(std::move(endpoint));
    lead_default_route(route);
    co_return Result<void>();
  }
  net::awaitable<Result<void>> disconnect(std::uint32_t card,
                                          std::optional<std::uint32_t> route) override {
    std::erase_if(endpoints_, [&](const auto& lease) { return lease.endpoint().card == card; });
    lead_default_route(route);
    co_return Result<void>();
  }
  net::awaitable<Result<void>> disconnect() override {
    endpoints_.clear();
    co_return Result<void>();
  }
  net::awaitable<Result<void>> update_network_files(protocol::UpdateNetworkFiles files) override {
    last_->network_files = std::move(files);
    co_return Result<void>();
  }

  net::awaitable<Result<engine::ProcessStart>> start_process(
      protocol::StartProcess process, std::shared_ptr<engine::OutputSink> sink) override {
    engine::ProcessStart started{.pid = 100, .refusal = refusal_of(process.argv.at(0))};
    if (started.refusal) co_return started;
    if (process.argv.at(0) == "wedged") {
      const auto self = shared_from_this();
      while (!stopped_) co_await changed_.wait();
      co_return Error{Code::kUnavailable, "the machine has ended"};
    }
    Process& begun = processes_[process.process] = Process{};
    begun.container = process.container;
    sinks_.push_back(sink);
    net::co_spawn(executor_, run(shared_from_this(), std::move(process), std::move(sink)),
                  net::detached);
    co_return started;
  }

  net::awaitable<Result<ExitStatus>> wait_exit(ProcessId process) override {
    const auto self = shared_from_this();
    // As with a real one, what the sink has not taken yet comes first.
    while (!processes_.at(process).exit && !(stopped_ && !processes_.at(process).writing))
      co_await changed_.wait();
    if (processes_.at(process).exit) co_return *processes_.at(process).exit;
    co_return Error{Code::kUnavailable, "the machine has ended"};
  }
  /// Whoever still carries the process out goes on with it.
  void forget_process(ProcessId process) override {
    if (auto forgotten = processes_.extract(process)) forgotten_.push_back(std::move(forgotten));
  }

  net::awaitable<Result<void>> write_stdin(ProcessId process,
                                           std::vector<std::byte> bytes) override {
    Process& target = processes_.at(process);
    if (target.exit) co_return Error{Code::kUnavailable, "the process has ended"};
    target.input.insert(target.input.end(), bytes.begin(), bytes.end());
    changed_.notify_all();
    co_return Result<void>();
  }
  void close_stdin(ProcessId process) override {
    processes_.at(process).input_closed = true;
    changed_.notify_all();
  }

  net::awaitable<Result<void>> signal(ProcessId process, int number) override {
    if (trouble_->stalled)
      co_return Error{Code::kDeadlineExceeded, "the container's machine does not answer"};
    Process& target = processes_.at(process);
    if (target.exit) co_return Error{Code::kNotFound, "no such process"};
    target.signal = number;
    changed_.notify_all();
    co_return Result<void>();
  }
  net::awaitable<Result<void>> resize(ProcessId, std::uint16_t, std::uint16_t) override {
    co_return Result<void>();
  }

  net::awaitable<Result<void>> set_frozen(engine::ContainerNumber, bool frozen) override {
    frozen_ = frozen;
    co_return Result<void>();
  }
  net::awaitable<Result<void>> update_limits(engine::ContainerNumber,
                                             protocol::PrepareContainer::Limits limits) override {
    limits_ = limits;
    co_return Result<void>();
  }
  net::awaitable<Result<void>> set_weights(engine::GroupWeights) override {
    co_return Result<void>();
  }
  net::awaitable<Result<protocol::Statistics>> statistics(engine::ContainerNumber) override {
    protocol::Statistics statistics;
    statistics.cpu_stat = "usage_usec 1000000\nuser_usec 600000\nsystem_usec 400000\n";
    statistics.memory_current = "1048576\n";
    statistics.memory_max =
        limits_.memory_bytes == 0 ? "max\n" : std::to_string(limits_.memory_bytes) + "\n";
    statistics.memory_info = "MemTotal: 524288 kB\n";
    statistics.pids_current = std::to_string(processes_.size()) + "\n";
    statistics.pids_max = "max\n";
    statistics.cpus = 1;
    co_return statistics;
  }
  net::awaitable<Result<protocol::ProcessList>> processes(engine::ContainerNumber) override {
    protocol::ProcessList list;
    protocol::ProcessList::Entry entry;
    entry.pid = 100;
    entry.stat = "100 (fake) S 1 100 100 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 0 0 0 0";
    entry.command_line = "fake";
    list.processes.push_back(std::move(entry));
    co_return list;
  }

  net::awaitable<void> shutdown(std::chrono::milliseconds timeout) override {
    const auto self = shared_from_this();
    if (trouble_->stalled && !stopped_) {
      net::steady_timer timer(executor_, timeout);
      co_await timer.async_wait(async::kTuple);
    }
    end(engine::EndReason::kGuestShutdown);
    while (!stopped_) co_await changed_.wait();
  }
  void kill() override { end(engine::EndReason::kRequested); }
  net::awaitable<engine::MachineEnd> wait_stopped() override {
    const auto self = shared_from_this();
    while (!stopped_) co_await changed_.wait();
    co_return engine::MachineEnd{.reason = *stopped_, .message = "ended", .console_tail = {}};
  }
  pid_t monitor_pid() const override { return 4242; }

  /// As the guest has it that an earlier daemon knew.
  void have_container(engine::ContainerNumber number) { containers_.emplace(number, Container{}); }

  /// Until it ends.
  void hold(std::vector<engine::EndpointLease> endpoints) {
    if (!stopped_) endpoints_ = std::move(endpoints);
  }

 private:
  struct Container {
    protocol::PrepareContainer::Namespaces namespaces;
    ProcessId first = 0;
  };
  struct Process {
    engine::ContainerNumber container = 0;
    std::vector<std::byte> input;
    bool input_closed = false;
    bool writing = false;
    int signal = 0;
    std::optional<ExitStatus> exit;
  };

  static std::optional<protocol::Failure> refusal_of(const std::string& command) {
    protocol::Failure failure;
    failure.stage = "execve";
    failure.message = "cannot execute";
    if (command == "no-such-command" || command == "/no/such/file") {
      failure.kind = protocol::FailureKind::kExecutableNotFound;
      failure.error_number = ENOENT;
    } else if (command == "/etc/passwd") {
      failure.kind = protocol::FailureKind::kNotExecutable;
      failure.error_number = EACCES;
    } else {
      return std::nullopt;
    }
    return failure;
  }

  static net::awaitable<void> run(std::shared_ptr<FakeMachine> self, protocol::StartProcess process,
                                  std::shared_ptr<engine::OutputSink> sink) {
    Process& state = self->processes_[process.process];
    const int code = co_await self->execute(process, sink);
    const bool signaled = code < 0;
    state.exit = ExitStatus{.signaled = signaled, .code = signaled ? -code : code};
    self->end_sharers(process);
    self->changed_.notify_all();
  }

  /// As a kernel does where PID 1 of a namespace has ended.
  void end_sharers(const protocol::StartProcess& ended) {
    const auto found = containers_.find(ended.container);
    if (found == containers_.end() || found->second.first != ended.process) return;
    for (auto& [id, process] : processes_) {
      const auto container = containers_.find(process.container);
      if (container != containers_.end() && container->second.namespaces.pid == ended.container)
        process.signal = SIGKILL;
    }
  }

  /// Exit code, or minus the signal's number.
  net::awaitable<int> execute(protocol::StartProcess process,
                              std::shared_ptr<engine::OutputSink> sink) {
    const std::string command = process.argv.at(0);
    Process& state = processes_[process.process];
    if (process.files_tool) {
      files_->frozen = frozen_;
      ++files_->running;
      while (files_->hangs && !state.signal && !stopped_) co_await changed_.wait();
      --files_->running;
      if (stopped_ || state.signal) co_return -SIGKILL;
      co_await sink->write(Stream::kStdout, files_->answer);
      co_return 0;
    }
    if (command == "false") co_return 1;
    if (command == "exit") co_return std::stoi(process.argv.at(1));
    if (command == "echo" || command == "err") {
      std::string line;
      for (std::size_t i = 1; i < process.argv.size(); ++i)
        line += (i > 1 ? " " : "") + process.argv[i];
      line += "\n";
      co_await sink->write(command == "err" ? Stream::kStderr : Stream::kStdout, bytes_of(line));
    }
    if (command == "spew") {
      constexpr std::size_t kPiece = 32768;
      state.writing = true;
      for (std::size_t left = std::stoul(process.argv.at(1)); left > 0;) {
        const std::size_t size = std::min(left, kPiece);
        co_await sink->write(Stream::kStdout, std::vector<std::byte>(size, std::byte{'x'}));
        left -= size;
      }
      state.writing = false;
    }
    if (command == "size") {
      const std::string line =
          std::to_string(process.rows) + " " + std::to_string(process.columns) + "\n";
      co_await sink->write(Stream::kStdout, bytes_of(line));
    }
    while (command == "cat" && !state.signal && !stopped_) {
      if (!state.input.empty()) {
        std::vector<std::byte> bytes = std::exchange(state.input, {});
        co_await sink->write(Stream::kStdout, std::move(bytes));
        continue;
      }
      if (state.input_closed) break;
      co_await changed_.wait();
    }
    while ((command == "sleep" && !state.signal && !stopped_) ||
           (command == "stubborn" && state.signal != SIGKILL && !stopped_) ||
           (command == "immortal" && !stopped_))
      co_await changed_.wait();
    if (stopped_) co_return -SIGKILL;
    co_return -state.signal;
  }

  void lead_default_route(std::optional<std::uint32_t> card) {
    for (engine::EndpointLease& lease : endpoints_)
      lease.lead_default_route(lease.endpoint().card == card);
  }

  void end(engine::EndReason reason) {
    if (trouble_->unkillable) return;
    if (!stopped_) stopped_ = reason;
    endpoints_.clear();
    for (const auto& weak : sinks_)
      if (const auto sink = weak.lock()) sink->hurry();
    changed_.notify_all();
  }

  net::any_io_executor executor_;
  std::string id_;
  async::Notifier changed_;
  std::map<engine::ContainerNumber, Container> containers_;
  std::map<ProcessId, Process> processes_;
  std::vector<std::map<ProcessId, Process>::node_type> forgotten_;
  std::shared_ptr<FakeFiles> files_;
  std::shared_ptr<FakeTrouble> trouble_;
  std::shared_ptr<FakeSpecs> last_;
  std::vector<std::weak_ptr<engine::OutputSink>> sinks_;
  bool frozen_ = false;
  protocol::PrepareContainer::Limits limits_;
  std::optional<engine::EndReason> stopped_;
  std::vector<engine::EndpointLease> endpoints_;
};

}  // namespace

net::awaitable<Result<std::shared_ptr<engine::Machine>>> FakeMachineHost::obtain(
    engine::MachineSpec spec) {
  const auto machine = std::make_shared<FakeMachine>(executor_, spec.id, files_, trouble_, last_);
  machine->hold(std::move(spec.endpoints));
  last_->machine = std::move(spec);
  if (next_failure_) co_return *std::exchange(next_failure_, std::nullopt);
  co_return machine;
}

net::awaitable<Result<std::shared_ptr<engine::Machine>>> FakeMachineHost::adopt(
    engine::AdoptSpec spec) {
  const auto survivor = std::find_if(survivors_.begin(), survivors_.end(), [&](const auto& id) {
    return spec.id.starts_with(id.substr(0, kShortId));
  });
  if (survivor == survivors_.end()) co_return Error{Code::kNotFound, "the machine did not survive"};
  survivors_.erase(survivor);
  last_adopted_secret_ = spec.secret;
  const auto machine = std::make_shared<FakeMachine>(executor_, spec.id, files_, trouble_, last_);
  for (const auto& [id, process] : spec.processes) {
    protocol::StartProcess sleeping;
    sleeping.process = id;
    sleeping.argv = {"sleep"};
    auto started = co_await machine->start_process(std::move(sleeping), process.sink);
    if (!started) co_return std::move(started).error();
  }
  for (const engine::ContainerNumber number : spec.containers) machine->have_container(number);
  std::vector<engine::EndpointLease> endpoints;
  for (const engine::Endpoint& endpoint : spec.endpoints)
    if (auto lease = co_await networks_.resume(endpoint)) endpoints.push_back(*std::move(lease));
  machine->hold(std::move(endpoints));
  last_adopted_ = machine;
  co_return machine;
}

net::awaitable<Result<void>> FakeMachineHost::create(std::filesystem::path path, std::uint64_t) {
  if (!std::ofstream(path)) co_return Error{Code::kInternal, "cannot create the disk"};
  co_return Result<void>();
}

net::awaitable<base::Result<engine::HostFile>> FakeMachineHost::check_host_path(std::string path) {
  if (const auto refused = refused_host_paths.find(path); refused != refused_host_paths.end())
    co_return refused->second;
  const bool is_socket = host_sockets.contains(path);
  if (!missing_host_paths.contains(path))
    co_return engine::HostFile{.is_socket = is_socket,
                               .is_directory = !is_socket && !host_regular_files.contains(path),
                               .mode = 0660};
  co_return base::Error{base::Code::kNotFound, "bind source path does not exist: " + path};
}

}  // namespace fakes
