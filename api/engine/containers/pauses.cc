#include "api/engine/containers/pauses.h"

#include <spdlog/spdlog.h>

#include "api/engine/container/state_errors.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;

net::awaitable<Result<void>> Pauses::pause(ContainerPtr container) {
  const auto lock = co_await container->run.transition.lock();
  if (container->removal.done) co_return no_such_container(container->id);
  if (container->state.status == Status::kPaused) co_return already_paused(*container);
  if (container->state.status == Status::kRestarting) co_return restarting(*container);
  if (!container->state.running() || !container->run.machine) co_return not_running(*container);
  co_return co_await freeze(container);
}

net::awaitable<Result<void>> Pauses::freeze(ContainerPtr container) {
  const std::shared_ptr<Machine> machine = container->run.machine;
  auto frozen = co_await machine->set_frozen(container->state.machine.number, true);
  if (!frozen)
    co_return base::annotate(std::move(frozen), "Cannot pause container " + container->id);
  if (!container->state.running()) co_return not_running(*container);
  container->state.status = Status::kPaused;
  const auto committed = table_.commit(*container);
  if (!committed) co_return committed.error();
  events_.publish(*container, "pause");
  container->changed.notify_all();
  co_return Result<void>();
}

net::awaitable<Result<void>> Pauses::unpause(ContainerPtr container) {
  const auto lock = co_await container->run.transition.lock();
  if (container->removal.done) co_return no_such_container(container->id);
  if (container->state.status != Status::kPaused)
    co_return Error{Code::kInternal, "Container " + container->id + " is not paused"};
  co_return co_await thaw_locked(container);
}

net::awaitable<Result<void>> Pauses::thaw_locked(ContainerPtr container) {
  const std::shared_ptr<Machine> machine = container->run.machine;
  if (container->state.status != Status::kPaused || !machine) co_return Result<void>();
  auto thawed = co_await machine->set_frozen(container->state.machine.number, false);
  if (container->state.status != Status::kPaused) co_return Result<void>();  // it ended meanwhile
  if (!thawed)
    co_return base::annotate(std::move(thawed), "Cannot unpause container " + container->id);
  container->state.status = Status::kRunning;
  container->state.paused_to_commit = false;
  const auto committed = table_.commit(*container);
  if (!committed) co_return committed.error();
  events_.publish(*container, "unpause");
  container->changed.notify_all();
  co_return Result<void>();
}

net::awaitable<Result<bool>> Pauses::begin_commit(ContainerPtr container) {
  const auto lock = co_await container->run.transition.lock();
  if (container->removal.done) co_return no_such_container(container->id);
  ContainerState& state = container->state;
  if (state.status == Status::kRunning && container->run.machine) {
    state.paused_to_commit = true;
    const auto intended = table_.commit(*container);
    if (!intended) {
      state.paused_to_commit = false;
      co_return intended.error();
    }
    const auto frozen = co_await freeze(container);
    if (!frozen) {
      state.paused_to_commit = false;
      table_.commit_or_log(*container);
      co_return frozen.error();
    }
  }
  const bool counts = state.status == Status::kPaused && state.paused_to_commit;
  if (counts) ++container->files.commits;
  co_return counts;
}

net::awaitable<void> Pauses::end_commit(ContainerPtr container) {
  const auto lock = co_await container->run.transition.lock();
  if (--container->files.commits > 0 || !container->state.paused_to_commit) co_return;
  const auto thawed = co_await thaw_locked(container);
  if (!thawed) spdlog::error("{}", thawed.error().message);
}

net::awaitable<void> Pauses::end_interrupted_commit(ContainerPtr container) {
  const auto lock = co_await container->run.transition.lock();
  if (!container->state.paused_to_commit || !container->state.running()) co_return;
  container->state.status = Status::kPaused;  // it may be
  const auto thawed = co_await thaw_locked(container);
  if (!thawed) spdlog::error("{}", thawed.error().message);
}

}  // namespace engine
