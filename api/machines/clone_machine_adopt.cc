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
  machine->endpoints_ = std::move(endpoints);
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
  secret_ = spec.secret;
  start_session(std::move(*control));
  const auto pending = session_->hello(secret_);
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
      if (auto socket = next_stream()) io->open(stream, std::move(*socket), secret_, offset);
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

}  // namespace engine
