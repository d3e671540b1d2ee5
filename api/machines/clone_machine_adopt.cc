// A machine that an earlier daemon began: greeted, and taken up where it is.
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <csignal>

#include "api/machines/clone_machine.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;

net::awaitable<Result<std::shared_ptr<CloneMachine>>> CloneMachine::adopt(
    Context context, std::unique_ptr<MonitorProcess> process, AdoptSpec spec,
    std::vector<EndpointLease> endpoints) {
  std::shared_ptr<CloneMachine> machine(new CloneMachine(context, std::move(process)));
  machine->identity_.endpoints = std::move(endpoints);
  machine->names_.answers = spec.names;
  machine->sockets_.paths = std::exchange(spec.sockets, {});
  machine->has_file_server_ = machine->process_->file_server().is_started();
  net::co_spawn(context.executor, watch(machine), net::detached);
  Result<void> done = machine->connect();
  const std::set<ContainerNumber> kept = spec.containers;
  if (done) done = co_await machine->greet(std::move(spec));
  if (done && !kept.empty()) co_await machine->retain_only(kept);
  if (done && kept.contains(kMainContainer)) co_await machine->settle_networks();
  if (!done) {
    machine->end(EndReason::kMonitorError, done.error().message);
    co_await machine->wait_stopped();
    co_return base::annotate(std::move(done).error(),
                             "go on with machine " + machine->identity_.id);
  }
  co_return machine;
}

net::awaitable<Result<void>> CloneMachine::greet(AdoptSpec spec) {
  auto control = streams_->open_control();
  if (!control) co_return std::move(control).error();
  processes_.early_exits.emplace();
  identity_.secret = spec.secret;
  start_session(std::move(*control));
  const auto pending = session_->hello(identity_.secret);
  session_->flush();
  const auto reply = co_await pending.wait_for(context_.start_timeout);
  if (!reply) co_return Error{Code::kDeadlineExceeded, "the guest does not answer"};
  if (!*reply) co_return reply->error();
  co_return resume(spec, **reply);
}

/// Takes up the streams where they were. The guest reports again, by itself, each exit that it was
/// not told to forget.
Result<void> CloneMachine::resume(const AdoptSpec& spec, const protocol::HelloReply& reply) {
  std::vector<ProcessId> unwanted;
  for (const ContainerNumber number : reply.containers) {
    if (number == 0 || number > kMostContainers)
      return Error{Code::kDataLoss, "the guest has a container of a number that none has"};
    containers_.emplace(number, Membership::kIn);
  }
  for (const protocol::HelloReply::Process& known : reply.processes) {
    const auto found = spec.processes.find(known.process);
    auto io =
        std::make_shared<ProcessIo>(context_.executor, known.process,
                                    found == spec.processes.end() ? nullptr : found->second.sink);
    if (!processes_.by_id.emplace(known.process, io).second) continue;
    AdoptSpec::Process wanted;
    if (found != spec.processes.end()) wanted = found->second;
    const auto open = [&](protocol::Stream stream, std::uint64_t offset) {
      if (auto socket = streams_->next())
        io->open(stream, std::move(*socket), identity_.secret, offset);
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
  std::vector<protocol::ProcessExited> early = std::move(*processes_.early_exits);
  processes_.early_exits.reset();
  for (protocol::ProcessExited& exit : early) process_exited(std::move(exit));
  for (const ProcessId process : unwanted) {
    protocol::SignalProcess kill;
    kill.process = process;
    kill.signal = SIGKILL;
    session_->request(kill);
  }
  session_->flush();
  if (ending_.forced) return ended_error();
  return {};
}

/// Takes out what the last daemon was adding or removing: in the guest, and what files of it the
/// monitor has, of which the guest may not have heard.
net::awaitable<void> CloneMachine::retain_only(std::set<ContainerNumber> kept) {
  for (const ContainerNumber number : containers())
    if (!kept.contains(number)) [[maybe_unused]]
      const auto out = co_await take_out(number, context_.answer_timeout);
  for (ContainerNumber first = 1; first <= kMostContainers; ++first) {
    if (kept.contains(first)) continue;
    ContainerNumber last = first;
    while (last < kMostContainers && !kept.contains(last + 1)) ++last;
    co_await take_shares(first, last);
    if (const auto detached = co_await detach_files(first, last); !detached) co_return;
    first = last;
  }
}

/// Follows a process that nobody asks for, as the last daemon started it for a client of its own,
/// and forgets it at its end.
net::awaitable<void> CloneMachine::forget_at_end(std::shared_ptr<CloneMachine> self,
                                                 std::shared_ptr<ProcessIo> io, ProcessId process) {
  const auto outcome = co_await io->outcome().wait();
  if (outcome) self->forget_process(process);
}

}  // namespace engine
