#include "api/engine/containers/volume_claims.h"

#include <utility>

#include "api/engine/container/state_errors.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;

namespace {

Error in_use(const Container& container, const MountPoint& mount, const Container& holder) {
  return Error{Code::kConflict, "cannot use volume " + mount.volume + " in container " +
                                    container.name + ": the running container " + holder.name +
                                    " has it, and a volume that is a disk is one running "
                                    "container's at a time"};
}

}  // namespace

VolumeClaim& VolumeClaim::operator=(VolumeClaim&& other) noexcept {
  if (this == &other) return *this;
  give_back();
  holders_ = std::move(other.holders_);
  container_ = std::move(other.container_);
  return *this;
}

void VolumeClaim::give_back() {
  const ContainerPtr container = std::exchange(container_, nullptr);
  const std::shared_ptr<Holders> holders = std::exchange(holders_, {}).lock();
  if (!container || !holders) return;
  std::erase_if(*holders, [&](const auto& held) { return held.second == container; });
  container->changed.notify_all();
}

net::awaitable<Result<VolumeClaim>> VolumeClaims::claim(ContainerPtr container) {
  for (;;) {
    ContainerPtr holder;
    for (const MountPoint& mount : container->mounts) {
      const auto held = holders_->find(mount.volume);
      if (held == holders_->end() || held->second == container) continue;
      holder = held->second;
      if (holder->state.running()) co_return in_use(*container, mount, *holder);
      break;
    }
    if (!holder) break;
    co_await holder->changed.wait();
    if (container->removal.under_way > 0) co_return being_removed(*container);
    if (background_.ending()) co_return daemon_is_ending();
  }
  co_return hold(container);
}

VolumeClaim VolumeClaims::hold(const ContainerPtr& container) {
  for (const MountPoint& mount : container->mounts)
    if (volumes_.is_disk(mount.volume)) (*holders_)[mount.volume] = container;
  return VolumeClaim(holders_, container);
}

void VolumeClaims::wake_waiters(const Container& container) const {
  for (const MountPoint& mount : container.mounts)
    if (const auto held = holders_->find(mount.volume); held != holders_->end())
      held->second->changed.notify_all();
}

}  // namespace engine
