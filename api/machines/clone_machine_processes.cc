// The processes of a running machine, and what else its guest is asked.
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <csignal>

#include "api/machines/clone_machine.h"

namespace engine {

namespace {

using base::Code;
using base::Error;
using base::Result;
using std::chrono::milliseconds;

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

}  // namespace

Result<void> CloneMachine::open_streams(ProcessIo& io, const protocol::StartProcess& process) {
  std::vector<protocol::Stream> streams = {protocol::Stream::kStdout};
  if (!process.tty) streams.push_back(protocol::Stream::kStderr);
  if (process.open_stdin) streams.push_back(protocol::Stream::kStdin);
  for (const protocol::Stream stream : streams) {
    auto socket = streams_->next();
    if (!socket) return std::move(socket).error();
    io.open(stream, std::move(*socket), identity_.secret);
  }
  return {};
}

std::shared_ptr<ProcessIo> CloneMachine::find(ProcessId process) const {
  const auto found = processes_.by_id.find(process);
  return found == processes_.by_id.end() ? nullptr : found->second;
}

net::awaitable<Result<ProcessStart>> CloneMachine::start_process(protocol::StartProcess process,
                                                                 std::shared_ptr<OutputSink> sink) {
  const auto self = shared_from_this();
  if (ending_.done.has_value() || !session_) co_return ended_error();
  auto io = std::make_shared<ProcessIo>(context_.executor, process.process, std::move(sink));
  if (!processes_.by_id.emplace(process.process, io).second)
    co_return Error{Code::kInvalidArgument, "the process number is taken"};
  const GuestReply pending = session_->request(process);
  session_->flush();
  const auto opened = open_streams(*io, process);
  const auto reply = co_await pending.wait_for(context_.answer_timeout);
  if (!reply) {
    net::co_spawn(context_.executor, abandon(self, io, process.process, pending), net::detached);
    co_return Error{Code::kDeadlineExceeded, "the container's machine does not answer"};
  }
  const auto& answer = *reply;
  if (opened && answer) {
    if (const auto* started = std::get_if<protocol::ProcessStarted>(&*answer))
      co_return ProcessStart{started->pid, std::nullopt};
  }
  drop_process(process.process);
  if (!opened) co_return opened.error();
  if (!answer) co_return ended_error();
  if (auto refusal = GuestSession::refusal_in(*answer))
    co_return ProcessStart{0, std::move(refusal)};
  end(EndReason::kProtocolViolation, "the guest gave the wrong answer to StartProcess");
  co_return ended_error();
}

void CloneMachine::drop_process(ProcessId process) {
  const auto found = processes_.by_id.find(process);
  if (found == processes_.by_id.end()) return;
  const std::shared_ptr<ProcessIo> io = found->second;
  processes_.by_id.erase(found);
  io->machine_ended(ended_error());
}

/// Follows a start that nobody waits for any more: should the guest start the process yet, it is
/// killed.
net::awaitable<void> CloneMachine::abandon(std::shared_ptr<CloneMachine> self,
                                           std::shared_ptr<ProcessIo> io, ProcessId process,
                                           GuestReply pending) {
  const auto answer = co_await pending.wait();
  if (!answer || !std::holds_alternative<protocol::ProcessStarted>(*answer)) {
    self->drop_process(process);
    co_return;
  }
  protocol::SignalProcess kill;
  kill.process = process;
  kill.signal = SIGKILL;
  self->session_->request(kill);
  self->session_->flush();
  co_await forget_at_end(self, io, process);
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
  } else if (processes_.early_exits && processes_.early_exits->size() < kMostEarlyExits) {
    processes_.early_exits->push_back(std::move(message));
  } else {
    end(EndReason::kProtocolViolation, "the guest reported the exit of an unknown process");
  }
}

void CloneMachine::forget_process(ProcessId process) {
  if (processes_.by_id.erase(process) == 0 || !session_) return;
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
net::awaitable<Result<Answer>> CloneMachine::ask(M message, milliseconds timeout) {
  const auto self = shared_from_this();
  if (ending_.done.has_value() || !session_) co_return ended_error();
  const GuestReply pending = session_->request(std::move(message));
  session_->flush();
  auto reply = co_await pending.wait_for(timeout);
  if (!reply) co_return Error{Code::kDeadlineExceeded, "the container's machine does not answer"};
  auto& answer = *reply;
  if (!answer) co_return answer.error();
  if (auto* wanted = std::get_if<Answer>(&*answer)) co_return std::move(*wanted);
  if (const auto refusal = GuestSession::refusal_in(*answer)) co_return error_of(*refusal);
  end(EndReason::kProtocolViolation, "the guest gave an answer of the wrong kind");
  co_return ended_error();
}

template <typename M>
net::awaitable<Result<void>> CloneMachine::simple_request(M message, milliseconds timeout) {
  const Result<protocol::Done> done = co_await ask<protocol::Done>(std::move(message), timeout);
  if (!done) co_return done.error();
  co_return Result<void>();
}

net::awaitable<Result<void>> CloneMachine::signal(ProcessId process, int signal_number) {
  protocol::SignalProcess message;
  message.process = process;
  message.signal = signal_number;
  if (signal_number == SIGKILL) let_lock_waiters_die();
  return simple_request(message, context_.signal_timeout);
}

net::awaitable<Result<void>> CloneMachine::resize(ProcessId process, std::uint16_t rows,
                                                  std::uint16_t columns) {
  protocol::ResizeTerminal message;
  message.process = process;
  message.rows = rows;
  message.columns = columns;
  return simple_request(message, context_.answer_timeout);
}

net::awaitable<Result<void>> CloneMachine::set_frozen(ContainerNumber container, bool frozen) {
  protocol::FreezeContainer message;
  message.container = container;
  message.frozen = frozen;
  return simple_request(message, context_.answer_timeout);
}

net::awaitable<Result<void>> CloneMachine::remove_from_guest(ContainerNumber container,
                                                             milliseconds timeout) {
  protocol::RemoveContainer message;
  message.container = container;
  let_lock_waiters_die();
  return simple_request(message, timeout);
}

net::awaitable<Result<void>> CloneMachine::configure_network() {
  return simple_request(network_request(), context_.answer_timeout);
}

net::awaitable<Result<void>> CloneMachine::update_network_files(
    protocol::UpdateNetworkFiles files) {
  return simple_request(std::move(files), context_.answer_timeout);
}

net::awaitable<Result<void>> CloneMachine::update_limits(
    ContainerNumber container, protocol::PrepareContainer::Limits limits) {
  protocol::UpdateLimits message;
  message.container = container;
  message.limits = std::move(limits);
  return simple_request(std::move(message), context_.answer_timeout);
}

net::awaitable<Result<void>> CloneMachine::set_weights(GroupWeights weights) {
  const auto self = shared_from_this();
  if (ending_.done.has_value()) co_return ended_error();  // its slot may be another machine's now
  co_return co_await process_->set_weights(std::move(weights));
}

net::awaitable<Result<protocol::Statistics>> CloneMachine::statistics(ContainerNumber container) {
  protocol::ReadStatistics message;
  message.container = container;
  return ask<protocol::Statistics>(message, context_.answer_timeout);
}

net::awaitable<Result<protocol::ProcessList>> CloneMachine::processes(ContainerNumber container) {
  protocol::ListProcesses message;
  message.container = container;
  return ask<protocol::ProcessList>(message, context_.answer_timeout);
}

}  // namespace engine
