#include "api/engine/containers/removal.h"

#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <chrono>
#include <optional>
#include <utility>

#include "api/engine/container/state_errors.h"
#include "vmm/base/scope_exit.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;

namespace {

constexpr std::chrono::milliseconds kLookAgain{20};

std::string cannot_remove(const std::string& named) {
  return "cannot remove container \"" + named.substr(0, 256) + "\": ";
}

Result<void> check_stopped(const Container& container, const std::string& named) {
  const bool restarting = container.state.status == Status::kRestarting;
  if (!container.state.running() && !restarting) return {};
  const std::string refused = cannot_remove(named) + "container is ";
  if (container.state.status == Status::kPaused)
    return Error{Code::kConflict, refused + "paused and must be unpaused first"};
  return Error{Code::kConflict, refused + (restarting ? "restarting" : "running") +
                                    ": stop the container before removing or force remove"};
}

}  // namespace

/// Ends what keeps the removal from the lock, until it has it: a task of the files tool, at once
/// with `force` and else after Patience::copy, and with `force` a start as well. Those that wait
/// for volumes are woken, to see that the container is being removed.
net::awaitable<void> Removal::hurry(ContainerPtr container, std::shared_ptr<const bool> locked,
                                    bool force) {
  const net::any_io_executor executor = co_await net::this_coro::executor;
  auto due = std::chrono::steady_clock::now();
  if (!force) due += parts_.patience.copy;
  while (!*locked) {
    if (std::chrono::steady_clock::now() >= due) {
      container->files.launching.request_stop();
      if (container->files.machine) container->files.machine->kill();
      if (force) container->run.launching.request_stop();
    }
    parts_.volumes.claims().wake_waiters(*container);
    net::steady_timer timer(executor, kLookAgain);
    co_await timer.async_wait(async::kTuple);
  }
}

net::awaitable<async::Mutex::Lock> Removal::lock_to_remove(ContainerPtr container, bool force) {
  const auto locked = std::make_shared<bool>(false);
  const base::ScopeExit done([locked] { *locked = true; });
  parts_.background.spawn("hurry " + container->short_id(), hurry(container, locked, force));
  co_return co_await container->run.transition.lock();
}

net::awaitable<Result<void>> Removal::remove(ContainerPtr container, RemoveOptions options,
                                             std::string named) {
  ++container->removal.under_way;
  const base::ScopeExit over([container] { --container->removal.under_way; });
  std::optional<ContainerLog::Discard> discarding;
  if (options.force && container->storage.log)
    discarding.emplace(container->storage.log->discard());
  if (options.force) co_await parts_.runs.end_by_force(container);
  if (!options.force) RETURN_IF_ERROR_ASYNC(check_stopped(*container, named));
  const auto lock = co_await lock_to_remove(container, options.force);
  if (container->removal.done) co_return no_such_container(container->id);
  if (!options.force) RETURN_IF_ERROR_ASYNC(check_stopped(*container, named));
  if (container->state.running()) {
    container->state.manually_stopped = true;
    const auto killed = co_await parts_.runs.kill_locked(container);
    if (!killed)
      co_return base::annotate(killed.error(), "cannot remove container \"" + named.substr(0, 256) +
                                                   "\": could not kill container");
  }
  co_return co_await remove_locked(container, options.volumes);
}

/// Removes a container whose process does not run. Its machine may still be winding down: the plug
/// is pulled, unless there are volumes to write back, or others in the machine. `volumes_too`: with
/// the volumes that were made for it and have no name.
net::awaitable<Result<void>> Removal::remove_locked(ContainerPtr container, bool volumes_too) {
  if (container->removal.done) co_return no_such_container(container->id);
  if (parts_.volumes.lasts(*container, volumes_too) || !has_machine_alone(*container)) {
    const bool gone = co_await wait_for_teardown(container, parts_.patience.teardown());
    if (!gone)
      co_return Error{Code::kInternal, "cannot remove container \"/" + container->name +
                                           "\": its machine does not end"};
  }
  if (container->run.machine) container->run.machine->kill();
  std::vector<VolumePtr> gone;
  if (volumes_too) gone = parts_.volumes.own(*container);
  auto deleted = parts_.table.erase(*container, gone);
  if (!deleted) co_return std::move(deleted).error();
  // The row is gone: should we die now, the next start removes the files.
  container->state.status = Status::kRemoving;
  parts_.table.remove(*container);
  co_await parts_.volumes.drop(container, std::move(gone));
  if (container->storage.log) co_await container->storage.log->idle();
  co_await parts_.storage.drop(container);
  container->removal.done = true;
  container->state.status = Status::kDead;
  parts_.events.publish(*container, "destroy");
  co_await container->run.process->end(std::nullopt);  // it was for a run that does not come
  container->changed.notify_all();
  co_return Result<void>();
}

void Removal::begin_auto_remove(const ContainerPtr& container) {
  parts_.background.spawn("remove " + container->short_id(), auto_remove(container));
}

net::awaitable<void> Removal::auto_remove(ContainerPtr container) {
  const auto lock = co_await lock_to_remove(container, /*force=*/false);
  if (container->removal.done || container->state.running()) co_return;
  const auto removed = co_await remove_locked(container, true);
  if (!removed) spdlog::error("remove {}: {}", container->short_id(), removed.error().message);
}

net::awaitable<PruneResult> Removal::prune(std::function<bool(const Container&)> wanted) {
  PruneResult result;
  for (const ContainerPtr& container : parts_.table.list()) {
    if (container->state.running() || container->state.status == Status::kRestarting) continue;
    if (!container->damage.empty() || !wanted(*container)) continue;
    struct stat status {};
    const std::uint64_t bytes = ::stat(container->disk().c_str(), &status) == 0
                                    ? static_cast<std::uint64_t>(status.st_blocks) * 512
                                    : 0;
    const auto removed = co_await remove(container, {}, container->id);
    if (!removed) continue;
    result.removed.push_back(container->id);
    result.reclaimed_bytes += bytes;
  }
  co_return result;
}

void Removal::begin_remove_of_build(const ContainerPtr& container) {
  parts_.background.spawn("remove " + container->short_id(), remove_of_build(container));
}

net::awaitable<void> Removal::remove_of_build(ContainerPtr container) {
  const auto removed = co_await remove(container, {.force = true, .volumes = true}, container->id);
  if (!removed && !container->removal.done)
    spdlog::error("remove {}: {}", container->short_id(), removed.error().message);
}

}  // namespace engine
