#include "api/engine/containers/removal.h"

#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <chrono>
#include <utility>

#include "api/engine/container/state_errors.h"
#include "vmm/base/scope_exit.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;

namespace {

constexpr std::chrono::milliseconds kLookAgain{20};

Result<void> check_stopped(const Container& container) {
  const bool restarting = container.state.status == Status::kRestarting;
  if (!container.state.running() && !restarting) return {};
  return Error{Code::kConflict, "cannot remove container \"/" + container.name +
                                    "\": container is " + (restarting ? "restarting" : "running") +
                                    ": stop the container before removing or force remove"};
}

}  // namespace

/// Until the removal has the lock: ends what keeps it away. With force also a start.
net::awaitable<void> Removal::hurry(ContainerPtr container, std::shared_ptr<const bool> locked,
                                    bool force) {
  const net::any_io_executor executor = co_await net::this_coro::executor;
  auto due = std::chrono::steady_clock::now();
  if (!force) due += parts_.patience.copy;
  while (!*locked) {
    if (std::chrono::steady_clock::now() >= due) {
      container->files_launching.request_stop();
      if (container->files_machine) container->files_machine->kill();
      if (force) container->launching.request_stop();
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
  co_return co_await container->transition.lock();
}

net::awaitable<Result<void>> Removal::remove(ContainerPtr container, RemoveOptions options) {
  ++container->removals;
  if (options.force && container->log) container->log->discard(true);
  const base::ScopeExit over([container] {
    if (--container->removals == 0 && container->log) container->log->discard(false);
  });
  if (options.force) co_await parts_.runs.end_by_force(container);
  if (!options.force) RETURN_IF_ERROR_ASYNC(check_stopped(*container));
  const auto lock = co_await lock_to_remove(container, options.force);
  if (container->removed) co_return no_such_container(container->id);
  if (!options.force) RETURN_IF_ERROR_ASYNC(check_stopped(*container));
  if (container->state.running()) {
    container->state.manually_stopped = true;
    const auto killed = co_await parts_.runs.kill_locked(container);
    if (!killed)
      co_return base::annotate(killed.error(), "cannot remove container \"/" + container->name +
                                                   "\": could not kill container");
  }
  co_return co_await remove_locked(container, options.volumes);
}

/// Its process does not run. The machine may still be winding down: its plug is pulled, unless it
/// has volumes to write back. `volumes_too`: those that were made for it and have no name.
net::awaitable<Result<void>> Removal::remove_locked(ContainerPtr container, bool volumes_too) {
  if (container->removed) co_return no_such_container(container->id);
  if (parts_.volumes.lasts(*container, volumes_too)) {
    const bool gone = co_await wait_for_teardown(container, parts_.patience.teardown());
    if (!gone)
      co_return Error{Code::kInternal, "cannot remove container \"/" + container->name +
                                           "\": its machine does not end"};
  }
  if (container->machine) container->machine->kill();
  std::vector<VolumePtr> gone;
  if (volumes_too) gone = parts_.volumes.own(*container);
  auto deleted = parts_.table.erase(*container, gone);
  if (!deleted) co_return std::move(deleted).error();
  // The row is gone: should we die now, the next start removes the files.
  container->state.status = Status::kRemoving;
  parts_.table.remove(*container);
  co_await parts_.volumes.drop(container, std::move(gone));
  if (container->log) co_await container->log->idle();
  co_await parts_.storage.drop(container);
  container->removed = true;
  container->state.status = Status::kDead;
  parts_.events.publish(*container, "destroy");
  container->output->end_attachments();
  container->changed.notify_all();
  co_return Result<void>();
}

void Removal::begin_auto_remove(const ContainerPtr& container) {
  parts_.background.spawn("remove " + container->short_id(), auto_remove(container));
}

net::awaitable<void> Removal::auto_remove(ContainerPtr container) {
  const auto lock = co_await lock_to_remove(container, /*force=*/false);
  if (container->removed || container->state.running()) co_return;
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
    const auto removed = co_await remove(container, {});
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
  const auto removed = co_await remove(container, {.force = true, .volumes = true});
  if (!removed && !container->removed)
    spdlog::error("remove {}: {}", container->short_id(), removed.error().message);
}

}  // namespace engine
