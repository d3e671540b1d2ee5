// Containers: remove, prune.
#include <spdlog/spdlog.h>

#include <csignal>
#include <filesystem>

#include "api/engine/containers.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;

net::awaitable<Result<void>> Containers::remove(ContainerPtr container, RemoveOptions options) {
  if (container->state.running() && options.force) {
    container->state.manually_stopped = true;
    // Not behind the lock: a stop that waits out its timeout need not be waited for.
    if (const std::shared_ptr<Machine> machine = container->machine) {
      const auto sent = co_await machine->signal(kMainProcess, SIGKILL);
      if (!sent && sent.error().code == Code::kDeadlineExceeded) machine->kill();
    }
  }
  const auto lock = co_await container->transition.lock();
  if (container->removed) co_return no_such_container(container->id);
  if (container->state.running() && !options.force)
    co_return Error{Code::kConflict,
                    "cannot remove container \"/" + container->name +
                        "\": container is running: stop the container before removing or force "
                        "remove"};
  if (container->state.status == Status::kRestarting && !options.force)
    co_return Error{Code::kConflict, "cannot remove container \"/" + container->name +
                                         "\": container is restarting: stop the container before "
                                         "removing or force remove"};
  if (container->state.running()) {
    container->state.manually_stopped = true;
    co_await kill_locked(container);
  }
  co_return co_await remove_locked(container, options.volumes);
}

/// Its process does not run. The machine may still be winding down: its plug is pulled, unless it
/// has volumes to write back. `volumes_too`: those that were made for it and have no name.
net::awaitable<Result<void>> Containers::remove_locked(ContainerPtr container, bool volumes_too) {
  if (container->removed) co_return no_such_container(container->id);
  if (has_lasting_volumes(*container, volumes_too))
    while (container->machine) co_await container->changed.wait();
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
  container->output->finish();
  container->changed.notify_all();
  co_return Result<void>();
}

/// AutoRemove: after the exit, or after a failed start.
net::awaitable<void> Containers::remove_by_itself(ContainerPtr container) {
  const auto lock = co_await container->transition.lock();
  if (container->removed || container->state.running()) co_return;
  const auto removed = co_await remove_locked(container, true);
  if (!removed) spdlog::error("remove {}: {}", container->short_id(), removed.error().message);
}

net::awaitable<PruneResult> Containers::prune(std::function<bool(const Container&)> wanted) {
  PruneResult result;
  for (const ContainerPtr& container : list()) {
    if (container->state.running() || container->state.status == Status::kRestarting) continue;
    if (!wanted(*container)) continue;
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
