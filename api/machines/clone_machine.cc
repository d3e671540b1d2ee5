// A clone before there is a container in it.
#include "api/machines/clone_machine.h"

#include <fcntl.h>
#include <sys/random.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

namespace engine {

namespace {

using base::Code;
using base::Error;
using base::Result;

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

}  // namespace

CloneMachine::CloneMachine(Context context, std::unique_ptr<MonitorProcess> process)
    : context_(std::move(context)),
      identity_{.id = process->name(), .secret = {}, .endpoints = {}},
      process_(std::move(process)),
      starting_file_server_(context_.executor),
      changing_network_(context_.executor),
      ending_(context_.executor) {}

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
                                           self->ending_.stopped = std::move(stopped);
                                       },
                                   .lost =
                                       [weak](Error error) {
                                         if (auto self = weak.lock())
                                           self->monitor_lost(std::move(error));
                                       }});
  streams_.emplace(context_.executor, monitor_);
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
  return streams_->adopt(from, setup_);
}

net::awaitable<Result<void>> CloneMachine::become(MachineSpec spec, std::function<void()> begun) {
  const auto self = shared_from_this();
  identity_.id = spec.id;
  identity_.secret = spec.secret;
  identity_.endpoints = std::move(spec.endpoints);
  names_.answers = std::move(spec.names);
  beginning_.emplace();
  beginning_->begun = std::move(begun);
  beginning_->identity.machine_id = spec.machine_id;
  beginning_->identity.secret = spec.secret;
  Result<void> done = process_->rename(spec.id);
  if (done && spec.weights != GroupWeights{}) done = co_await set_weights(spec.weights);
  for (EndpointLease& lease : identity_.endpoints)
    if (done) done = attach_network(lease, setup_);
  if (!done) end(EndReason::kMonitorError, done.error().message);
  co_return done;
}

net::awaitable<void> CloneMachine::watch_setup(std::shared_ptr<CloneMachine> self) {
  const auto done = co_await self->restored();
  if (!done && done.error().code != Code::kUnavailable)
    self->end(EndReason::kMonitorError, done.error().message);
}

void CloneMachine::start_session(StreamSocket socket) {
  const std::weak_ptr<CloneMachine> weak = weak_from_this();
  session_ = GuestSession::start(context_.executor, std::move(socket),
                                 {.exited =
                                      [weak](protocol::ProcessExited message) {
                                        if (auto self = weak.lock())
                                          self->process_exited(std::move(message));
                                      },
                                  .asked =
                                      [weak](protocol::NameQuery query) {
                                        if (auto self = weak.lock())
                                          self->name_asked(std::move(query));
                                      },
                                  .connected =
                                      [weak](protocol::SocketConnected message) {
                                        if (auto self = weak.lock())
                                          self->socket_connected(message);
                                      },
                                  .lost =
                                      [weak](Error error) {
                                        if (auto self = weak.lock())
                                          self->guest_lost(std::move(error));
                                      }});
}

void CloneMachine::name_asked(protocol::NameQuery query) {
  const bool answerable = names_.answers && !ending_.forced && !ending_.conclusion &&
                          query.message.size() <= protocol::kMaxNameMessage;
  if (!answerable || names_.under_way >= kMostQuestions) return;
  ++names_.under_way;
  net::co_spawn(context_.executor, answer_name(shared_from_this(), std::move(query)),
                net::detached);
}

net::awaitable<void> CloneMachine::answer_name(std::shared_ptr<CloneMachine> self,
                                               protocol::NameQuery query) {
  const auto answers = self->names_.answers;
  protocol::NameAnswer answer;
  answer.query = query.query;
  answer.message =
      co_await answers->answer(self->identity_.id, std::move(query.message), query.stream);
  --self->names_.under_way;
  if (answer.message.empty() || answer.message.size() > protocol::kMaxNameMessage) co_return;
  self->session_->tell(answer);
  self->session_->flush();
}

}  // namespace engine
