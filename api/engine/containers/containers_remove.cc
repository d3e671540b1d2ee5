// Containers: remove, prune.
#include <spdlog/spdlog.h>

#include <boost/asio/steady_timer.hpp>
#include <csignal>
#include <filesystem>

#include "api/engine/containers/containers.h"
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

/// SIGKILL; then the plug. Not behind the lock: whoever has that (a stop that waits out its
/// timeout, a request that the guest does not answer) comes to its end by this.
net::awaitable<void> Containers::end_run(ContainerPtr container) {
  const std::shared_ptr<Machine> machine = container->machine;
  if (!container->state.running() || !machine) co_return;
  container->state.manually_stopped = true;
  const std::uint64_t exits = container->exits;
  const auto sent = co_await machine->signal(kMainProcess, SIGKILL);
  const bool answers = sent || sent.error().code != Code::kDeadlineExceeded;
  const bool ended = answers && co_await wait_for_exit(container, exits, parts_.patience.kill);
  if (!ended && container->exits == exits) machine->kill();
}

/// Those that wait for another container's volumes look again.
void Containers::wake_waiters(const Container& container) {
  for (const MountPoint& mount : container.mounts)
    if (const auto held = volume_holders_.find(mount.volume); held != volume_holders_.end())
      held->second->changed.notify_all();
}

/// Until the removal has the lock: ends what keeps it away. With force also a start.
net::awaitable<void> Containers::hurry(ContainerPtr container, std::shared_ptr<const bool> locked,
                                       bool force) {
  auto due = std::chrono::steady_clock::now();
  if (!force) due += parts_.patience.copy;
  while (!*locked) {
    if (std::chrono::steady_clock::now() >= due) {
      container->files_launching.request_stop();
      if (container->files_machine) container->files_machine->kill();
      if (force) container->launching.request_stop();
    }
    wake_waiters(*container);
    net::steady_timer timer(parts_.executor, kLookAgain);
    co_await timer.async_wait(async::kTuple);
  }
}

net::awaitable<async::Mutex::Lock> Containers::lock_to_remove(ContainerPtr container, bool force) {
  const auto locked = std::make_shared<bool>(false);
  const base::ScopeExit done([locked] { *locked = true; });
  tasks_.spawn("hurry " + container->short_id(), hurry(container, locked, force));
  co_return co_await container->transition.lock();
}

net::awaitable<Result<void>> Containers::remove(ContainerPtr container, RemoveOptions options) {
  ++container->removals;
  if (options.force && container->log) container->log->discard(true);
  const base::ScopeExit over([container] {
    if (--container->removals == 0 && container->log) container->log->discard(false);
  });
  if (options.force) co_await end_run(container);
  if (!options.force) RETURN_IF_ERROR_ASYNC(check_stopped(*container));
  const auto lock = co_await lock_to_remove(container, options.force);
  if (container->removed) co_return no_such_container(container->id);
  if (!options.force) RETURN_IF_ERROR_ASYNC(check_stopped(*container));
  if (container->state.running()) {
    container->state.manually_stopped = true;
    const auto killed = co_await kill_locked(container);
    if (!killed)
      co_return base::annotate(killed.error(), "cannot remove container \"/" + container->name +
                                                   "\": could not kill container");
  }
  co_return co_await remove_locked(container, options.volumes);
}

/// Its process does not run. The machine may still be winding down: its plug is pulled, unless it
/// has volumes to write back. `volumes_too`: those that were made for it and have no name.
net::awaitable<Result<void>> Containers::remove_locked(ContainerPtr container, bool volumes_too) {
  if (container->removed) co_return no_such_container(container->id);
  if (has_lasting_volumes(*container, volumes_too)) {
    const bool gone = co_await machine_ends(container);
    if (!gone)
      co_return Error{Code::kInternal, "cannot remove container \"/" + container->name +
                                           "\": its machine does not end"};
  }
  if (container->machine) container->machine->kill();
  std::vector<VolumePtr> gone;
  if (volumes_too) gone = own_volumes(*container);
  auto deleted = erase(*container, gone);
  if (!deleted) co_return std::move(deleted).error();
  // The row is gone: should we die now, the next start removes the files.
  container->state.status = Status::kRemoving;
  by_id_.erase(container->id);
  names_.erase(container->name);
  co_await drop_mounts(container, std::move(gone));
  if (container->log) co_await container->log->idle();
  co_await drop_files(container);
  container->removed = true;
  container->state.status = Status::kDead;
  publish(*container, "destroy");
  container->output->end_attachments();
  container->changed.notify_all();
  co_return Result<void>();
}

/// AutoRemove: after the exit, or after a failed start.
net::awaitable<void> Containers::remove_by_itself(ContainerPtr container) {
  const auto lock = co_await lock_to_remove(container, /*force=*/false);
  if (container->removed || container->state.running()) co_return;
  const auto removed = co_await remove_locked(container, true);
  if (!removed) spdlog::error("remove {}: {}", container->short_id(), removed.error().message);
}

net::awaitable<PruneResult> Containers::prune(std::function<bool(const Container&)> wanted) {
  PruneResult result;
  for (const ContainerPtr& container : list()) {
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

}  // namespace engine
